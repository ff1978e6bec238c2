package touchfile_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inject has strace do that to the n-th system call of that name that the main thread of the
// process makes from now on, and returns the output of strace.
func (c *child) inject(call, what string, n int) (lines chan string, detach func()) {
	c.t.Helper()
	tracer := exec.Command("strace", "-p", strconv.Itoa(c.cmd.Process.Pid),
		"-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, what, n))
	out, err := tracer.StderrPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, tracer.Start())
	lines = make(chan string, 1<<10)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		_ = tracer.Wait()
	}()
	detach = func() {
		_ = tracer.Process.Signal(syscall.SIGINT)
		for range lines {
		}
	}
	for {
		select {
		case line, running := <-lines:
			require.True(c.t, running, "strace has ended")
			if strings.Contains(line, " attached") {
				return lines, detach
			}
		case <-time.After(patience):
			require.FailNow(c.t, "no output from strace")
		}
	}
}

func needStrace(t *testing.T) {
	t.Helper()
	need(t, "strace, and the right to use it", exec.Command("strace", "-o", os.DevNull, "true").Run() == nil)
}

// stopped waits until the process stands still, and is false if it has the lock before that.
func (c *child) stopped(lines chan string) bool {
	c.t.Helper()
	hang := time.After(patience)
	for {
		select {
		case event := <-c.events:
			require.Equal(c.t, "locked", event)
			return false
		case line := <-lines:
			if strings.Contains(line, "stopped by SIGSTOP") {
				return true
			}
		case <-hang:
			require.FailNow(c.t, "the process neither stopped nor got the lock")
		}
	}
}

// While one process stands still somewhere in Lock the file is removed and another one locks
// the new file. Unless the first one had the lock by then, it does not get it on the old file.
func TestRemovedUnderWay(t *testing.T) {
	needStrace(t)
	tf := setUp(t)
	c := start(t, tf.Path())
	steps, late := 0, 0
	for _, call := range []string{"openat", "fstat", "flock", "newfstatat"} {
		for n := 1; ; n++ {
			mustBeFree(t, tf)
			lines, detach := c.inject(call, "signal=SIGSTOP", n)
			c.tell("lock")
			stopped := c.stopped(lines)
			if stopped {
				steps++
				require.NoError(t, os.Remove(tf.Path()))
				require.NoError(t, tf.ExclusiveLock(bg()))
				require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
				select {
				case event := <-c.events:
					require.Equal(t, "locked", event)
					late++
					require.NoError(t, tf.Unlock())
				case <-time.After(20 * time.Millisecond): // long enough to see it fail where it can
					require.NoError(t, tf.Unlock())
					c.expect("locked")
				}
			}
			detach()
			c.do("unlock", "unlocked")
			if !stopped {
				break
			}
		}
	}
	require.LessOrEqual(t, late, 1, "the look at the name is the last thing that it does")
	require.GreaterOrEqual(t, steps, 4)
}

// Some file systems are interrupted by signals, and some lock only what is open for writing.
func TestInjectedErrors(t *testing.T) {
	needStrace(t)
	tf := setUp(t)
	mustBeFree(t, tf)
	c := start(t, tf.Path())
	for _, failure := range [][2]string{
		{"openat", "EINTR"}, {"fstat", "EINTR"}, {"flock", "EINTR"}, {"newfstatat", "EINTR"},
		{"flock", "EBADF"}, {"flock", "EIO"},
	} {
		_, detach := c.inject(failure[0], "error="+failure[1], 1)
		c.do("lock", "locked")
		detach()
		c.do("unlock", "unlocked")
	}
	_, detach := c.inject("openat", "error=EMFILE", 1)
	c.do("lock", "open "+tf.Path()+": too many open files")
	detach()
	_, detach = c.inject("flock", "error=ENOLCK", 1)
	c.do("lock", "lock "+tf.Path()+": flock: unsupported operation: no locks available")
	detach()
	mustBeFree(t, tf)
}
