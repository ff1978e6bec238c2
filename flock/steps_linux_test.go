package flock_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
)

// fileCalls are the system calls with which TryLock looks at files or changes them.
const fileCalls = "openat,flock,fstat,newfstatat,utimensat,fchmod,unlinkat,close"

// interference is what strace does to a process at a system call.
type interference string

const (
	stopping interference = "signal=SIGSTOP" // after the call
	killing  interference = "signal=SIGKILL" // instead of the call
)

// tracer is strace at work on the main thread of a helper process.
type tracer struct {
	s     store
	cmd   *exec.Cmd
	lines chan string
}

func needStrace(t *testing.T) {
	t.Helper()
	err := exec.Command("strace", "-o", os.DevNull, "true").Run()
	need(t, "strace, and the right to use it", err == nil)
}

// inject has strace carry out a rule, the value of its --inject option, on the thread of c
// that obeys the order "here".
func (c *child) inject(rule string) *tracer {
	c.s.Helper()
	tr := &tracer{s: c.s, lines: make(chan string, 1<<12)}
	tr.cmd = exec.Command("strace", "-p", c.thread, "-e", "trace="+fileCalls, "-e", "inject="+rule)
	out, err := tr.cmd.StderrPipe()
	require.NoError(c.s, err)
	require.NoError(c.s, tr.cmd.Start())
	go func() {
		defer close(tr.lines)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			tr.lines <- lines.Text()
		}
		_ = tr.cmd.Wait()
	}()
	for attached := false; !attached; {
		select {
		case line, running := <-tr.lines:
			require.True(c.s, running, "strace has ended")
			attached = strings.Contains(line, " attached")
		case <-time.After(patience):
			require.FailNow(c.s, "no output from strace")
		}
	}
	return tr
}

// detach leaves the process to itself.
func (tr *tracer) detach() {
	_ = tr.cmd.Process.Signal(syscall.SIGINT)
	for range tr.lines {
	}
}

// stopped waits until the process was stopped or killed by the rule. It is false when it has
// said that it has the lock before that.
func (tr *tracer) stopped(c *child) bool {
	tr.s.Helper()
	hang := time.After(patience)
	for {
		select {
		case event, running := <-c.events:
			if !running {
				return true
			}
			require.Equal(tr.s, "locked", event)
			return false
		case line := <-tr.lines:
			if strings.Contains(line, "stopped by SIGSTOP") {
				return true
			}
		case <-hang:
			require.FailNow(tr.s, "the process neither stopped nor came to an end")
		}
	}
}

// scene is the state of the lock file that a slow contender finds. The unlock function is
// that of its holder, if it has one.
var scenes = map[string]func(s store) flock.UnlockFunc{
	"missing": func(s store) flock.UnlockFunc { return nil },
	"fresh":   func(s store) flock.UnlockFunc { s.free(); return nil },
	"aging":   func(s store) flock.UnlockFunc { s.free(); s.setTime(aging()); return nil },
	"stale":   func(s store) flock.UnlockFunc { s.free(); s.age(); return nil },
	"frozen":  func(s store) flock.UnlockFunc { unlock := s.lock(bg()); s.age(); return unlock },
	"marked":  func(s store) flock.UnlockFunc { s.free(); s.mark(); return nil },
}

// aging is the time of a file that is not stale, but not so fresh that it is taken without
// a refresh.
func aging() time.Time { return time.Now().Add(-flock.HeartbeatInterval / 2) }

func (s store) mark() { require.NoError(s, os.Chmod(s.path(), 0o700)) }

// eachStep has a helper process take the lock once for each of its steps in each scene, and
// stops or kills it there.
func eachStep(t *testing.T, what interference, do func(s store, slow *child, holder flock.UnlockFunc)) {
	needStrace(t)
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			steps, slow := 0, s.start()
			for call := range strings.SplitSeq(fileCalls, ",") {
				for n := 1; ; n++ {
					_ = os.Remove(s.path())
					holder := scene(s)
					tr := slow.inject(fmt.Sprintf("%s:%s:when=%d", call, what, n))
					slow.tell("here")
					stopped := tr.stopped(slow)
					if stopped {
						steps++
						do(s, slow, holder)
					}
					tr.detach()
					if holder != nil {
						_ = holder()
					}
					if what == killing && stopped {
						slow.kill()
						slow = s.start()
						continue
					}
					if stopped {
						slow.expect("locked")
					}
					slow.giveUp()
					if !stopped {
						break
					}
				}
			}
			t.Log(steps, "steps")
			require.GreaterOrEqual(t, steps, 4)
		})
	}
}
