package integration_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program that the test has started and that ends with the test at the latest.
// Its output is shown when the test fails.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when the process has ended and been waited for
}

// startProcess starts cmd. The test binary kills it in any case.
func startProcess(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, out: &output{changed: make(chan struct{})}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	require.NoError(t, cmd.Start(), "start %s", name)
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill(t)
		for _, bad := range []string{"DATA RACE", "panic"} {
			// In a test with -race stock tusd reports races of its own.
			if name != stockName && strings.Contains(p.out.String(), bad) {
				t.Errorf("%s: %s", name, bad)
			}
		}
		if t.Failed() {
			t.Logf("output of %s (pid %d, %v):\n%s", name, cmd.Process.Pid, cmd.ProcessState, p.out.tail())
		}
	})
	return p
}

// kill is kill -9, and returns when the process is gone.
func (p *process) kill(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Kill()
	p.wait(t)
}

// terminate asks the process to end and returns its exit code.
func (p *process) terminate(t testing.TB) int {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	return p.wait(t)
}

func (p *process) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig), "signal %s", p.name)
}

// wait returns the exit code, or -1 of a process that was killed.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(hang):
		t.Fatalf("%s does not end", p.name)
		return -1
	}
}

// line waits for the first line that contains text and returns what follows it there.
func (p *process) line(t testing.TB, text string) string {
	t.Helper()
	rest, ok := p.lineOrEnd(text)
	if !ok {
		t.Fatalf("%s does not say %q (%v):\n%s", p.name, text, p.cmd.ProcessState, p.out)
	}
	return rest
}

// lineOrEnd is line for a process that may end, or hang, before it says that.
func (p *process) lineOrEnd(text string) (rest string, ok bool) {
	deadline := time.After(hang)
	for {
		rest, ok, changed := p.out.after(text)
		if ok {
			return strings.TrimSpace(rest), true
		}
		select {
		case <-changed:
		case <-p.done:
			rest, ok, _ = p.out.after(text)
			return strings.TrimSpace(rest), ok
		case <-deadline:
			return "", false
		}
	}
}

// output collects what a process prints and wakes those who wait for a line.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tail is the end of a long output, enough to see what the process did last.
func (o *output) tail() string {
	s := o.String()
	if most := 16 << 10; len(s) > most {
		return "... " + s[len(s)-most:]
	}
	return s
}

// after returns the rest of the first complete line that contains text.
func (o *output) after(text string) (rest string, ok bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, tail, found := bytes.Cut(o.buf.Bytes(), []byte(text))
	line, _, whole := bytes.Cut(tail, []byte("\n"))
	return string(line), found && whole, o.changed
}
