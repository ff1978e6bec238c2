package filelocker_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// To the stock locker a shared hold is a held lock. Its request is made anew at each of its
// looks, and readers heed it then.
func TestStockWaitsForReaders(t *testing.T) {
	f := setUpMixed(t)
	waiter, other := f.start(asStock), f.start()
	for range 3 {
		first := f.read("a")
		other.read("a")
		second := f.read("a")
		waiter.tell("lock a")
		first.mustBeAsked()
		second.mustBeAsked()
		other.expect("asked a")
		require.Empty(t, waiter.events)
		first.unlock()
		second.unlock()
		require.Empty(t, waiter.events)
		other.tell("unlock a")
		other.expect("unlocked a")
		waiter.expect("locked a")
		waiter.unlock("a")
		f.mustHold()
	}
}

func TestReaderWaitsForStock(t *testing.T) {
	f := setUpMixed(t)
	holder, other := f.start(asStock), f.start()
	for range 5 {
		holder.tell("lock a")
		holder.expect("locked a")
		g, done := f.queue(reading(), "a")
		other.tell("read a")
		holder.expect("asked a")
		require.Empty(t, done)
		require.Empty(t, other.events)
		holder.tell("unlock a")
		holder.expect("unlocked a")
		require.NoError(t, receive(f, done, "the reader"))
		other.expect("locked a")
		other.settle()
		f.settle()
		g.mustNotBeAsked()
		g.unlock()
		other.tell("unlock a")
		other.expect("unlocked a")
		f.mustHold()
	}
}

// What a killed stock process wanted is no reader's business, nor is what it has held.
func TestReadersAfterAKilledStockProcess(t *testing.T) {
	f := setUpMixed(t)
	f.set.Acquirer = 5 * time.Millisecond // the kernel reports nothing: it has no lock
	f = setUpIn(t, f.kind, f.dir, f.set)
	for range 3 {
		holder, waiter := f.start(asStock), f.start(asStock)
		holder.tell("lock a")
		holder.expect("locked a")
		waiter.tell("lock a")
		g, done := f.queue(reading(), "a")
		holder.expect("asked a")
		waiter.kill()
		holder.kill()
		require.NoError(t, receive(f, done, "the lock of a killed stock process"))
		f.settle()
		g.mustNotBeAsked()
		require.NoFileExists(t, f.path("a.stop")) // a temporary file of stock's may be there
		g.unlock()
		require.NoFileExists(t, f.path("a.lock"))
	}
}

// A leftover request stops no reader, whether it was there before or comes while they read.
func TestLeftoverBesideReaders(t *testing.T) {
	f := setUp(t)
	for _, age := range []time.Duration{0, time.Hour} {
		f.leave("a.stop", "", age)
		g := f.read("a")
		f.mustHold("a.lock")
		f.settle()
		f.leave("leftover", "", age)
		require.NoError(t, os.Rename(f.path("leftover"), f.path("a.stop")))
		f.settle()
		f.mustHold("a.lock")
		f.read("a").unlock()
		g.mustNotBeAsked()
		g.unlock()
		f.mustHold()
	}
}
