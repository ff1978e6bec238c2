package filelocker_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// stageFor puts a lock file on disk that somebody has been making for ever, and returns its end.
func (f *fixture) stageFor(name string) (end func()) {
	f.Helper()
	f.leave(name, "", 0)
	file, err := os.OpenFile(f.path(name), os.O_RDWR, 0)
	require.NoError(f, err)
	require.NoError(f, syscall.Flock(int(file.Fd()), syscall.LOCK_EX))
	f.age(name, -time.Hour) // nobody takes it for stuck
	return func() {
		require.NoError(f, os.Remove(f.path(name)))
		require.NoError(f, file.Close())
	}
}

// A process can be off its processor, or stopped, with its lock file made and not yet under its name.
// One that waits does not wait for that.
func TestMakersAreNotInTheWayOfWaiters(t *testing.T) {
	bothWays(t, func(t *testing.T, f *fixture) {
		names := filelocker.TempNames("a")
		for busy := range len(names) {
			holder := f.start()
			holder.tell("here a")
			holder.expect("locked a")
			var ends []func()
			for _, name := range names[:busy] {
				ends = append(ends, f.stageFor(name))
			}
			g, done := f.queue(context.Background(), "a")
			if busy%2 == 0 {
				holder.unlock("a")
			} else {
				holder.kill()
			}
			require.NoError(t, receive(f, done, "the waiter"), "%d makers", busy)
			g.unlock()
			f.mustHold(names[:busy]...)
			for _, end := range ends {
				end()
			}
		}
	})
}

// If there are as many makers as there are names, a waiter comes into its own when one is through.
func TestAllNamesInTheMaking(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	waiter := f.start()
	waiter.tell("lock a")
	g.mustBeAsked()
	waiter.stopAtRest("a")
	var ends []func()
	names := filelocker.TempNames("a")
	for _, name := range names {
		ends = append(ends, f.stageFor(name))
	}
	g.unlock()
	waiter.resume()
	f.mustBecome(append(names, "a.stop")...)
	ends[2]()
	waiter.expect("locked a")
	ends[0]()
	ends[1]()
	ends[3]()
	waiter.unlock("a")
	f.mustHold()
}

// Whoever was killed while it waited may have left a lock file under each of the names. The last who
// stands behind its request removes them, or who finds that abandoned.
func TestLeftUnderEachName(t *testing.T) {
	left := func(f *fixture) {
		for _, name := range filelocker.TempNames("a") {
			f.leave(name, string(filelocker.NewStamp()), time.Second)
		}
	}
	t.Run("beside a waiter", func(t *testing.T) {
		f := setUp(t)
		g := f.hold("a")
		waiter := f.start()
		waiter.tell("lock a")
		g.mustBeAsked()
		waiter.stopAtRest("a")
		left(f)
		g.unlock()
		waiter.resume()
		waiter.expect("locked a")
		waiter.unlock("a")
		f.mustHold()
	})
	t.Run("beside a waiter that gives up", func(t *testing.T) {
		f := setUp(t)
		holder := f.start()
		holder.tell("here a")
		holder.expect("locked a")
		ctx, cancel := context.WithCancel(context.Background())
		_, done := f.queue(ctx, "a")
		f.mustBecome("a.lock", "a.stop")
		left(f)
		cancel()
		require.Error(t, receive(f, done, "the waiter"))
		f.mustHold("a.lock")
		holder.unlock("a")
		f.mustHold()
	})
	t.Run("beside nobody", func(t *testing.T) {
		f := setUp(t)
		f.leave("a.stop", "", time.Second)
		left(f)
		f.hold("a").unlock()
		f.mustHold()
	})
}

// Wherever one of several waiters is killed, nothing of it stays.
func TestKillAtEachStepAmongWaiters(t *testing.T) {
	bothWays(t, func(t *testing.T, f *fixture) {
		needStrace(f)
		eachStep(f, func(call string, n int) bool {
			g := f.hold("a")
			other, waiter := f.start(), f.start()
			other.tell("yield a")
			g.mustBeAsked()
			tracer := waiter.inject(killing.at(call, n))
			waiter.tell("here a")
			g.unlock()
			killed := killedInTurn(waiter)
			tracer.detach()
			waiter.kill()
			for other.keeps("a") {
				f.hold("a").unlock() // asks it, if it has the lock by now
			}
			f.hold("a").unlock()
			f.mustHold()
			return killed
		})
	})
}

// keeps is false when the process has said that it has given a lock back.
func (c *child) keeps(id string) bool {
	c.f.Helper()
	for {
		select {
		case event := <-c.events:
			if event == "unlocked "+id {
				return false
			}
		default:
			return true
		}
	}
}

// killedInTurn is false when the waiter has got the lock, and has given it back.
func killedInTurn(waiter *child) bool {
	for {
		switch waiter.next() {
		case "locked a":
			waiter.tell("unlock a")
		case "unlocked a":
			return false
		case "":
			return true
		}
	}
}
