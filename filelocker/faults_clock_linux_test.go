package filelocker_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clockSet is how far off the times of files are after the clock was set by an hour. It cannot
// be set for one test alone; but where it matters, it is compared with the times of files.
var clockSet = map[string]time.Duration{"forward": -time.Hour, "back": time.Hour}

// shift moves the times of a file.
func (f *fixture) shift(name string, by time.Duration) {
	f.Helper()
	then := time.Now().Add(by)
	require.NoError(f, os.Chtimes(f.path(name), then, then))
}

// The kernel lock decides: a holder keeps its lock and is heir to a killed one, whatever the
// time of the file.
func TestClockIsSetDuringAHold(t *testing.T) {
	for name, by := range clockSet {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			for _, order := range []string{"lock", "read"} {
				c := f.start()
				c.tell(order + " a")
				c.expect("locked a")
				f.shift("a.lock", by)
				g := f.newLock("a")
				done := g.takeSoon(context.Background())
				c.expect("asked a")
				f.shift("a.lock", by)
				f.settle()
				require.Empty(t, done, "the holder was robbed")
				c.kill()
				require.NoError(t, receive(f, done, "the lock of a killed process"))
				g.unlock()
				f.mustHold()
			}
		})
	}
}

// shiftSoon is for a file that is there or about to be.
func (f *fixture) shiftSoon(name string, by time.Duration) {
	f.Helper()
	then := time.Now().Add(by)
	require.Eventually(f, func() bool { return os.Chtimes(f.path(name), then, then) == nil }, f.patience(), time.Millisecond)
}

// A waiter shows that it lives by touching its request, so a wrong time does not last: the
// holder is asked all the same, and the lock changes hands.
func TestClockIsSetDuringAWait(t *testing.T) {
	for name, by := range clockSet {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			waiter := f.start()
			g := f.hold("a")
			waiter.tell("lock a")
			g.mustBeAsked()
			f.shiftSoon("a.stop", by)
			next := f.newLock("a")
			done := next.takeSoon(context.Background()) // in line: the chain ends for the waiter
			f.shiftSoon("a.stop", by)
			g.unlock()
			select {
			case event := <-waiter.events:
				require.Equal(t, "locked a", event)
				require.Equal(t, "asked a", waiter.next())
				waiter.unlock("a")
				require.NoError(t, receive(f, done, "the lock"))
				next.unlock()
			case err := <-done:
				require.NoError(t, err)
				next.mustBeAsked()
				next.unlock()
				waiter.expect("locked a")
				waiter.unlock("a")
			case <-time.After(f.patience()):
				require.FailNow(t, "nobody gets the lock")
			}
			f.mustHold()
		})
	}
}

// What a killed waiter left asks nobody, whatever its time, and goes with the next holder.
func TestClockAndALeftoverRequest(t *testing.T) {
	for name, by := range clockSet {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.leave("a.stop", "", -by)
			for range 3 {
				g := f.hold("a")
				f.mustHold("a.lock")
				f.settle()
				g.mustNotBeAsked()
				g.unlock()
				f.mustHold()
			}
			f.leave("a.lock", corpseOf(setUp(t)), -by)
			f.leave("a.stop", "", -by)
			g := f.hold("a")
			f.settle()
			g.mustNotBeAsked()
			g.unlock()
			f.mustHold()
		})
	}
}

// What a killed maker of a lock file left under its temporary name is removed, whatever its
// time.
func TestClockAndALeftoverFile(t *testing.T) {
	for name, by := range clockSet {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			temporary := temporaryName(f, "a")
			f.leave(temporary, corpseOf(setUp(t)), -by)
			g := f.hold("a")
			f.mustHold("a.lock")
			g.unlock()
			f.mustHold()
		})
	}
}
