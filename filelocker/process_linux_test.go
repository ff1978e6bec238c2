package filelocker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process that is stopped, frozen, or in a debugger is not dead.
func TestStoppedHolderIsNotRobbed(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	holder.tell("here a")
	holder.expect("locked a")
	require.NoError(t, holder.cmd.Process.Signal(syscall.SIGSTOP))
	t.Cleanup(holder.kill) // it would not end by itself
	for range 5 {
		f.mustBeBusy("a")
	}
	g, done := f.queue(context.Background(), "a")
	require.NoError(t, holder.cmd.Process.Signal(syscall.SIGCONT))
	holder.unlock("a")
	require.NoError(t, receive(f, done, "the lock of the stopped process"))
	g.unlock()
	f.mustHold()
}

// A waiter that is stopped keeps its request up, and comes into its own later.
func TestStoppedWaiter(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	waiter := f.start()
	waiter.tell("lock a")
	g.mustBeAsked()
	waiter.stopAtRest("a")
	g.unlock()
	next := f.hold("a")
	next.mustBeAsked()
	next.unlock()
	waiter.resume()
	waiter.expect("locked a")
	waiter.unlock("a")
	f.mustHold()
}

// stopAtRest stops the process while it waits for the lock of id, with its request on disk
// and without a look at the lock under way.
func (c *child) stopAtRest(id string) {
	f := c.f
	f.Helper()
	f.Cleanup(c.kill) // it would not end by itself
	state := fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid)
	require.Eventually(f, func() bool {
		require.NoError(f, c.cmd.Process.Signal(syscall.SIGSTOP))
		for stopped := false; !stopped; {
			stat, err := os.ReadFile(state)
			require.NoError(f, err)
			stopped = bytes.Contains(stat, []byte(") T "))
		}
		names, err := filepath.Glob(f.path("*"))
		require.NoError(f, err)
		hidden, err := filepath.Glob(f.path(".*"))
		require.NoError(f, err)
		if len(names) == 2 && len(hidden) == 0 && isLocked(f, id+".stop") {
			return true
		}
		c.resume()
		return false
	}, f.patience(), time.Millisecond, "the process does not come to rest")
}

// isLocked says whether somebody has a kernel lock on a file.
func isLocked(f *fixture, name string) bool {
	f.Helper()
	file, err := os.Open(f.path(name))
	require.NoError(f, err)
	defer file.Close()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		require.NoError(f, syscall.Flock(int(file.Fd()), syscall.LOCK_UN))
	}
	return errors.Is(err, syscall.EWOULDBLOCK)
}

// A process that is stopped anywhere in Lock, while somebody else holds the lock, keeps
// nobody from it.
func TestStopAtEachStepOfAWaiter(t *testing.T) {
	bothWays(t, func(t *testing.T, f *fixture) {
		needStrace(f)
		eachStep(f, func(call string, n int) bool {
			g := f.hold("a")
			waiter := f.start()
			defer waiter.kill()
			tracer := waiter.inject(stopping.at(call, n))
			defer tracer.detach()
			waiter.tell("here a")
			// A waiter looks again and again; of those looks, the first ones will do.
			stopped := n < 4 && tracer.stoppedWithin(100*time.Millisecond)
			g.unlock()
			if stopped {
				next := f.newLock("a")
				require.NoError(t, next.takeWithin(5*time.Second), "while a waiter is stopped after %s %d: %v", call, n, snapshot(f, f.dir))
				next.unlock()
				waiter.resume()
			}
			return stopped
		})
	})
}

// Wherever a process is stopped in Unlock, its waiter gets the lock, and nobody's file is
// taken for another's.
func TestStopAtEachStepOfUnlock(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	slow := f.start()
	eachStep(f, func(call string, n int) bool {
		slow.tell("here a")
		slow.expect("locked a")
		tracer := slow.inject(stopping.at(call, n))
		slow.tell("unlock a")
		stopped := tracer.stopped(slow, "unlocked a")
		g := f.newLock("a")
		done := g.takeSoon(context.Background())
		if stopped {
			slow.resume()
			for event := slow.next(); event != "unlocked a"; event = slow.next() {
				require.Equal(t, "asked a", event)
			}
		}
		tracer.detach()
		require.NoError(t, receive(f, done, "the waiter"))
		f.mustBecome("a.lock")
		g.unlock()
		f.mustHold()
		return stopped
	})
}

// Wherever a waiter is killed, its request does not stop the next holder, and nothing of it
// stays.
func TestKillAtEachStepOfAWaiter(t *testing.T) {
	bothWays(t, func(t *testing.T, f *fixture) {
		needStrace(f)
		eachStep(f, func(call string, n int) bool {
			g := f.hold("a")
			waiter := f.start()
			tracer := waiter.inject(killing.at(call, n))
			waiter.tell("here a")
			killed := killedWaiting(waiter, g)
			tracer.detach()
			waiter.kill()
			next := f.hold("a")
			f.settle()
			next.mustNotBeAsked()
			next.unlock()
			f.mustHold()
			return killed
		})
	})
}

// killedWaiting unlocks g when the waiter asks for it, or when the waiter is dead. It is false
// when the waiter has got the lock, and has unlocked it again.
func killedWaiting(waiter *child, g *grip) bool {
	g.f.Helper()
	select {
	case <-g.asked:
		g.unlock()
	case event, alive := <-waiter.events:
		require.False(g.f, alive, "%s: there is a holder", event)
		g.unlock()
		return true
	}
	if waiter.next() != "locked a" {
		return true
	}
	waiter.tell("unlock a")
	return waiter.next() != "unlocked a"
}

// Wherever a process is killed in taking over a dead one's lock, nothing of either stays.
func TestKillAtEachStepOfATakeover(t *testing.T) {
	bothWays(t, func(t *testing.T, f *fixture) {
		needStrace(f)
		eachStep(f, func(call string, n int) bool {
			dead := f.start()
			dead.tell("here a")
			dead.expect("locked a")
			dead.kill()
			killed := killAt(f, call, n)
			f.hold("a").unlock()
			f.mustHold()
			return killed
		})
	})
}

// Where the kernel has no watch left to give, the intervals are what remains.
func TestWithoutInotify(t *testing.T) {
	f := setUp(t)
	err := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", forbidInotify).Run()
	need(f, "unshare, and the right to make user namespaces", err == nil)
	blind := f.start(func(cmd *exec.Cmd, spec *childSpec) {
		cmd.Args = []string{"unshare", "--user", "--map-root-user", "sh", "-c", forbidInotify + "; exec " + cmd.Path}
		cmd.Path, cmd.Err = exec.LookPath("unshare")
		spec.Set = settings{Holder: 5 * time.Millisecond, Acquirer: 5 * time.Millisecond}
	})
	for range 5 {
		blind.tell("yield a")
		blind.expect("locked a")
		g := f.hold("a")
		blind.expect("asked a", "unlocked a")
		blind.tell("lock a")
		g.mustBeAsked()
		g.unlock()
		blind.expect("locked a")
		require.NoError(t, os.Remove(f.path("a.lock")))
		blind.expect("asked a")
		blind.tell("unlock a")
		require.Contains(t, blind.next(), "kept a: ")
		f.mustHold()
	}
}

const forbidInotify = "echo 0 >/proc/sys/user/max_inotify_instances"
