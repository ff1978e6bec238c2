package filelocker_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// fileCalls are the system calls with which a locker looks at files or changes them. Those
// that read orders and tell events are not among them.
const fileCalls = "openat,linkat,renameat,renameat2,unlinkat,flock,newfstatat,fstat,pread64,pwrite64,close"

// eachStep calls do for each step that a process can make: its first openat, its second one,
// and so on while do says that the process got that far; then for the next system call.
func eachStep(f *fixture, do func(call string, n int) bool) {
	f.Helper()
	total := 0
	for call := range strings.SplitSeq(fileCalls, ",") {
		for n := 1; do(call, n); n++ {
			require.Less(f, n, 100, "steps that are a %s", call)
			total++
		}
	}
	f.Logf("%d steps", total)
	require.NotZero(f, total, "nothing was stopped or killed")
}

// tracer is strace at work on the main thread of a helper process.
type tracer struct {
	f     *fixture
	cmd   *exec.Cmd
	lines chan string
}

// needStrace asks for what the tests need that stop or kill a process at a certain system call,
// or have one fail.
func needStrace(f *fixture) {
	f.Helper()
	err := exec.Command("strace", "-o", os.DevNull, "true").Run()
	need(f, "strace, and the right to use it", err == nil)
}

// at names the n-th system call of a kind in a rule for strace, see inject.
func (what interference) at(call string, n int) string {
	return fmt.Sprintf("%s:%s:when=%d", call, what, n)
}

// interference is what strace does to a process at a system call.
type interference string

const (
	stopping interference = "signal=SIGSTOP" // after the call
	killing  interference = "signal=SIGKILL" // instead of the call
)

// inject has strace interfere with the system calls that the helper process makes on its main
// thread from now on; each rule is one value of its --inject option.
func (c *child) inject(rules ...string) *tracer {
	c.f.Helper()
	args := []string{"-p", c.thread, "-e", "trace=" + fileCalls}
	for _, rule := range rules {
		args = append(args, "-e", "inject="+rule)
	}
	return c.strace(args...)
}

// strace has strace look at the process, or do more, and returns when it does.
func (c *child) strace(args ...string) *tracer {
	c.f.Helper()
	s := &tracer{f: c.f, cmd: exec.Command("strace", args...), lines: make(chan string, 1<<14)}
	out, err := s.cmd.StderrPipe()
	require.NoError(c.f, err)
	require.NoError(c.f, s.cmd.Start())
	go func() {
		defer close(s.lines)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.lines <- lines.Text()
		}
		_ = s.cmd.Wait()
	}()
	c.f.Cleanup(func() { s.detach() })
	s.waitFor(" attached")
	return s
}

func (s *tracer) waitFor(part string) {
	s.f.Helper()
	for {
		line := receive(s.f, s.lines, "no output from strace")
		if strings.Contains(line, part) {
			return
		}
		require.NotEmpty(s.f, line, "strace has ended")
	}
}

// detach leaves the process to itself, and returns what strace has said and nobody has read. strace
// can miss a signal that comes just before it waits for a process that does nothing.
func (s *tracer) detach() (lines []string) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	for {
		select {
		case line, more := <-s.lines:
			if !more {
				return lines
			}
			lines = append(lines, line)
		case <-again.C:
			_ = s.cmd.Process.Signal(syscall.SIGINT)
		}
	}
}

// stopped waits until the process has stopped after the system call that a rule with SIGSTOP
// is for. It is false when the process says that it has done what it was told without.
func (s *tracer) stopped(c *child, done string) bool {
	s.f.Helper()
	hang := time.After(s.f.patience())
	for {
		select {
		case event := <-c.events:
			require.Equal(s.f, done, event)
			return false
		case line := <-s.lines:
			if strings.Contains(line, "stopped by SIGSTOP") {
				return true
			}
		case <-hang:
			require.FailNow(s.f, "the process neither stopped nor came to an end")
		}
	}
}

func (c *child) resume() {
	c.f.Helper()
	require.NoError(c.f, c.cmd.Process.Signal(syscall.SIGCONT))
}

// stoppedWithin is for processes that say nothing when they come to rest.
func (s *tracer) stoppedWithin(d time.Duration) bool {
	s.f.Helper()
	rest := time.After(d)
	for {
		select {
		case line := <-s.lines:
			if strings.Contains(line, "stopped by SIGSTOP") {
				return true
			}
		case <-rest:
			return false
		}
	}
}
