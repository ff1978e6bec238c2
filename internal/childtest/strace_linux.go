package childtest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a rule may do to a process at a system call. Another one is "error=EIO", or whatever
// the error: instead of the call.
const (
	Stopping = "signal=SIGSTOP" // after the call
	Killing  = "signal=SIGKILL" // instead of the call
)

// At is a rule for the n-th system call of a name, from the time of Inject on.
func At(call string, n int, what string) string {
	return fmt.Sprintf("%s:%s:when=%d", call, what, n)
}

// NeedStrace is to be called by a test that uses Inject.
func NeedStrace(tb testing.TB) {
	tb.Helper()
	err := exec.Command("strace", "-o", os.DevNull, "true").Run()
	Need(tb, "strace, and the right to use it", err == nil)
}

// Tracer is strace at work on a helper process.
type Tracer struct {
	c     *Child
	cmd   *exec.Cmd
	lines <-chan string
}

// Inject has strace interfere with the system calls that the helper process makes from now on
// on the thread that takes its orders, which it has to be locked to. Each rule is a value of
// strace's option --inject; there can be one for each system call.
func (c *Child) Inject(rules ...string) *Tracer {
	c.Helper()
	args, calls := []string{"-p", c.thread}, make([]string, len(rules))
	for i, rule := range rules {
		args = append(args, "-e", "inject="+rule)
		calls[i], _, _ = strings.Cut(rule, ":")
	}
	cmd := exec.Command("strace", append(args, "-e", "trace="+strings.Join(calls, ","))...)
	out, err := cmd.StderrPipe()
	require.NoError(c, err)
	require.NoError(c, cmd.Start())
	tr := &Tracer{c, cmd, lines(cmd, out)}
	c.Cleanup(tr.Detach)
	require.True(c, tr.sees(" attached", Patience), "strace is not at work")
	return tr
}

// Detach leaves the process to itself. strace can miss a signal that comes just before it waits for
// a process that does nothing.
func (tr *Tracer) Detach() {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	_ = tr.cmd.Process.Signal(syscall.SIGINT)
	for more := true; more; {
		select {
		case _, more = <-tr.lines:
		case <-again.C:
			_ = tr.cmd.Process.Signal(syscall.SIGINT)
		}
	}
}

// Stopped waits until a rule has stopped or killed the process. It is false when the process
// has said before that it is done, which must be the next that it says.
func (tr *Tracer) Stopped(done string) bool {
	tr.c.Helper()
	hang := time.After(Patience)
	for lines := tr.lines; ; {
		select {
		case event, running := <-tr.c.Events:
			if running {
				require.Equal(tr.c, done, event)
			}
			return !running
		case line, more := <-lines:
			if !more {
				lines = nil // strace has seen the end of the process, and this has not yet
			}
			if strings.Contains(line, stopped) {
				return true
			}
		case <-hang:
			require.FailNow(tr.c, "the process neither stopped nor came to an end")
		}
	}
}

// StoppedWithin is for processes that say nothing when they come to rest.
func (tr *Tracer) StoppedWithin(d time.Duration) bool { return tr.sees(stopped, d) }

// stopped is what strace says of a process that stands still.
const stopped = "stopped by SIGSTOP"

func (tr *Tracer) sees(part string, within time.Duration) bool {
	for over := time.After(within); ; {
		select {
		case line, running := <-tr.lines:
			if !running || strings.Contains(line, part) {
				return running
			}
		case <-over:
			return false
		}
	}
}

// Freeze stops the process, all of it, and waits until it stands still.
func (c *Child) Freeze() {
	c.Helper()
	require.NoError(c, c.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(c.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(c, err)
	require.True(c, status.Stopped())
}

// Thaw lets a process go on that was frozen, or stopped by a rule.
func (c *Child) Thaw() {
	c.Helper()
	require.NoError(c, c.Process.Signal(syscall.SIGCONT))
}

func threadID() int { return syscall.Gettid() }
