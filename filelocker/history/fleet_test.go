//go:build linux

package history_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// fleet is the recorded processes over one directory, and what is done to them.
type fleet struct {
	dir      string
	journals string
	seed     uint64
	longest  time.Duration
	flaw     string

	// kills keeps files from being removed while a process dies: see remove.
	kills sync.Mutex

	mu       sync.Mutex
	journal  []string // of each process that was ever started
	deaths   map[int]fault
	removals []fault
	marks    []fault // what only the picture shows
}

// fault is something that was done to a process or a file.
type fault struct {
	what    string
	process int
	id      string
	call    int64
	ret     int64
}

// process is one recorded process. It belongs to the goroutine that started it.
type process struct {
	fleet  *fleet
	number int
	cmd    *exec.Cmd
	stdin  io.Closer
}

// start returns when the process is at work.
func (f *fleet) start() (*process, error) {
	f.mu.Lock()
	n := len(f.journal)
	path := filepath.Join(f.journals, fmt.Sprintf("%d.jsonl", n))
	f.journal = append(f.journal, path)
	f.mu.Unlock()

	spec, err := json.Marshal(childSpec{f.dir, path, f.seed, n, f.longest, f.flaw})
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec), "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{f, n, cmd, stdin}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		_ = p.kill()
		return nil, fmt.Errorf("process %d is not ready: %q, %w", n, line, err)
	}
	return p, nil
}

// kill returns when the process is gone. Its files are closed by then.
func (p *process) kill() error {
	p.fleet.kills.Lock()
	defer p.fleet.kills.Unlock()
	call := now()
	_ = p.cmd.Process.Kill()
	err := p.cmd.Wait()
	p.fleet.mu.Lock()
	p.fleet.deaths[p.number] = fault{what: "kill", process: p.number, call: call, ret: now()}
	p.fleet.mu.Unlock()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("process %d had ended before it was killed: %w", p.number, err)
	}
	return nil
}

func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
}

// hang is how long a process may take to end. It only ends tests that fail.
const hang = 2 * time.Minute

// end has the process finish what it does. One that does not prints its goroutines.
func (p *process) end() error {
	_ = p.stdin.Close()
	watchdog := time.AfterFunc(hang, func() { p.signal(syscall.SIGQUIT) })
	defer watchdog.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("process %d: %w", p.number, err)
	}
	return nil
}

func (f *fleet) mark(what string, process int, id string, call int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marks = append(f.marks, fault{what, process, id, call, now()})
}
