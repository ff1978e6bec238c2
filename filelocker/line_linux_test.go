package filelocker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// lineOf is how the line for the upload is called, once somebody has asked for it.
func (f *fixture) lineOf(id string) string {
	f.Helper()
	var st syscall.Stat_t
	require.Eventually(f, func() bool { return syscall.Stat(f.path(id+".stop"), &st) == nil }, f.patience(), time.Millisecond, "nobody asks")
	return fmt.Sprintf("@tusd-filelock/%x/%x/", st.Dev, st.Ino)
}

// inLine waits until so many stand in line. The kernel lists those who have connected under the name
// that they have connected to (/proc/net/unix).
func (f *fixture) inLine(line string, n int) {
	f.Helper()
	require.Eventually(f, func() bool { return f.countInLine(line) == n }, f.patience(), time.Millisecond, "waiters in line")
}

func (f *fixture) countInLine(line string) int {
	sockets, err := os.ReadFile("/proc/self/net/unix")
	require.NoError(f, err)
	return strings.Count(string(sockets), line)
}

// setUpLine has waiters rely on the line alone: who is not called would not come.
func setUpLine(t *testing.T) *fixture {
	return setUpIn(t, ours, t.TempDir(), settings{Loyal: true})
}

// waiters are processes that wait for an upload, in this order.
func (f *fixture) waiters(id string, n int) []*child {
	f.Helper()
	crowd := make([]*child, n)
	for i := range crowd {
		crowd[i] = f.start()
		crowd[i].tell("lock " + id)
		f.inLine(f.lineOf(id), i+1)
	}
	return crowd
}

// either waits until one of two processes has got the lock of a.
func (f *fixture) either(x, y *child) (one, other *child) {
	f.Helper()
	var event string
	select {
	case event = <-x.events:
		one, other = x, y
	case event = <-y.events:
		one, other = y, x
	case <-time.After(f.patience()):
		require.FailNow(f, "nobody gets the lock")
	}
	require.Equal(f, "locked a", event)
	return one, other
}

// Whoever is served is also asked to let go for the next one.
func TestProcessesAreServedInOrder(t *testing.T) {
	f := setUpLine(t)
	holder := f.hold("a")
	crowd := f.waiters("a", 6)
	line := f.lineOf("a")
	holder.mustBeAsked()
	holder.unlock()
	for i, c := range crowd {
		c.expect("locked a")
		if i < len(crowd)-1 {
			c.expect("asked a")
		}
		c.tell("unlock a")
		c.expect("unlocked a")
	}
	f.mustHold()
	f.inLine(line, 0)
}

// The first in line is stopped. The others do not wait for it.
func TestStoppedFirstInLine(t *testing.T) {
	f := setUp(t)
	holder := f.hold("a")
	crowd := f.waiters("a", 3)
	crowd[0].freeze()
	holder.mustBeAsked()
	holder.unlock()
	one, other := f.either(crowd[1], crowd[2])
	one.unlock("a")
	other.expect("locked a")
	other.unlock("a")
	crowd[0].thaw()
	crowd[0].expect("locked a")
	crowd[0].unlock("a")
	f.mustBecomeEmpty()
}

func TestKilledInLine(t *testing.T) {
	for _, victims := range [][]int{{0}, {1}, {0, 1}, {2}, {0, 2}} {
		f := setUpLine(t)
		holder := f.hold("a")
		crowd := f.waiters("a", 4)
		line := f.lineOf("a")
		for _, v := range victims {
			crowd[v].kill()
		}
		holder.mustBeAsked()
		holder.unlock()
		left := make(chan *child)
		for i, c := range crowd {
			if slices.Contains(victims, i) {
				continue
			}
			go func() {
				if e := <-c.events; e == "locked a" {
					left <- c
				}
			}()
		}
		for range len(crowd) - len(victims) {
			receive(f, left, "the lock").unlock("a")
		}
		f.mustBecomeEmpty()
		f.inLine(line, 0)
	}
}

// Who gives up in line leaves nothing behind, and is in nobody's way.
func TestGiveUpInLine(t *testing.T) {
	f := setUpLine(t)
	holder := f.start()
	holder.tell("lock a")
	holder.expect("locked a")
	first := f.waiters("a", 1)[0]
	line := f.lineOf("a")
	ctx, cancel := context.WithCancel(context.Background())
	_, done := f.queue(ctx, "a")
	f.inLine(line, 2)
	last := f.start()
	last.tell("lock a")
	f.inLine(line, 3)
	cancel()
	require.Error(t, receive(f, done, "the end of the wait"))
	holder.unlock("a")
	first.expect("locked a")
	first.unlock("a")
	last.expect("locked a")
	last.unlock("a")
	f.mustBecomeEmpty()
	f.inLine(line, 0)
}

// The client of a request hangs up while that stands in line. tusd does not tell its locker.
func TestClientGoneInLine(t *testing.T) {
	f := setUpLine(t)
	holder := f.start()
	holder.tell("lock a")
	holder.expect("locked a")
	next := f.waiters("a", 1)[0]
	line := f.lineOf("a")
	lock, done := f.newLock("a"), make(chan error, 1)
	handle := filelocker.ShareReads(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		done <- lock.take(context.WithoutCancel(r.Context()))
	}))
	ctx, hangUp := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		handle.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPatch, "/files/a", nil))
	}()
	f.inLine(line, 2)
	hangUp()
	require.Equal(t, handler.ErrLockTimeout, receive(f, done, "the end of the wait"))
	<-served
	holder.unlock("a")
	next.expect("locked a")
	next.unlock("a")
	f.mustBecomeEmpty()
}

// Containers do not see each other's line, and find each other in the directory.
func TestLinesOfTwoNetworks(t *testing.T) {
	f := setUp(t)
	need(t, "root", os.Geteuid() == 0)
	elsewhere := func(cmd *exec.Cmd, _ *childSpec) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	holder := f.hold("a")
	here := f.waiters("a", 1)[0]
	there := f.start(elsewhere)
	there.tell("lock a")
	holder.mustBeAsked()
	holder.unlock()
	one, other := f.either(here, there)
	one.unlock("a")
	other.expect("locked a")
	other.unlock("a")
	f.mustBecomeEmpty()
}
