package filelocker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killReading is killAt for a reader.
func killReading(f *fixture, call string, n int) bool {
	f.Helper()
	c := f.start()
	defer c.kill()
	defer c.inject(killing.at(call, n)).detach()
	c.tell("readhere a")
	if c.next() != "locked a" {
		return true
	}
	c.tell("unlock a")
	return c.next() != "unlocked a"
}

// Wherever the first reader is killed on its way in and out, whoever comes next gets the lock,
// and nothing stays.
func TestKillAtEachStepOfAReader(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	eachStep(f, func(call string, n int) bool {
		killed := killReading(f, call, n)
		if n%2 == 0 {
			f.hold("a").unlock()
		} else {
			f.read("a").unlock()
		}
		f.mustHold()
		return killed
	})
}

// Wherever a reader is killed beside another one, on its way in and out, that one still holds
// the lock, is not asked, and takes the file with it.
func TestKillAtEachStepBesideAReader(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	writer := f.start()
	eachStep(f, func(call string, n int) bool {
		g := f.read("a")
		killed := killReading(f, call, n)
		f.settle()
		g.mustNotBeAsked()
		writer.tell("lock a")
		g.mustBeAsked()
		require.Empty(t, writer.events)
		g.unlock()
		writer.expect("locked a")
		writer.tell("unlock a")
		writer.expect("unlocked a")
		f.mustHold()
		return killed
	})
}

// The same where the one that is killed has made the file.
func TestKillOfTheFirstReaderAtEachStepOfUnlock(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	eachStep(f, func(call string, n int) bool {
		c := f.start()
		defer c.kill()
		c.tell("readhere a")
		c.expect("locked a")
		g := f.read("a")
		writer, written := f.queue(context.Background(), "a")
		g.mustBeAsked()
		tracer := c.inject(killing.at(call, n))
		c.tell("unlock a")
		event := c.next()
		if event == "asked a" {
			event = c.next()
		}
		tracer.detach()
		f.settle()
		require.Empty(t, written, "somebody still reads")
		g.unlock()
		require.NoError(t, receive(f, written, "the writer"))
		writer.unlock()
		f.mustHold()
		return event != "unlocked a"
	})
}

// Wherever the last reader is killed in Unlock, the writer that waits gets the lock.
func TestKillOfTheLastReaderAtEachStepOfUnlock(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	eachStep(f, func(call string, n int) bool {
		c := f.start()
		defer c.kill()
		c.tell("readhere a")
		c.expect("locked a")
		writer, written := f.queue(context.Background(), "a")
		c.expect("asked a")
		tracer := c.inject(killing.at(call, n))
		c.tell("unlock a")
		event := c.next()
		tracer.detach()
		require.NoError(t, receive(f, written, "the writer"))
		writer.mustNotBeAsked()
		writer.unlock()
		f.mustHold()
		return event != "unlocked a"
	})
}

// Wherever a reader is killed while it waits for a writer, nothing of it stays.
func TestKillAtEachStepOfAWaitingReader(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	eachStep(f, func(call string, n int) bool {
		g := f.hold("a")
		waiter := f.start()
		tracer := waiter.inject(killing.at(call, n))
		waiter.tell("readhere a")
		killed := killedWaiting(waiter, g)
		tracer.detach()
		waiter.kill()
		next := f.read("a")
		f.settle()
		next.mustNotBeAsked()
		f.mustHold("a.lock")
		next.unlock()
		f.hold("a").unlock() // it may have been killed while it made its own file
		f.mustHold()
		return killed
	})
}

// Wherever a writer is killed while it waits for a reader, neither that one's process nor others
// are kept from reading.
func TestKillAtEachStepOfAWriterAmongReaders(t *testing.T) {
	bothWays(t, func(t *testing.T, f *fixture) {
		needStrace(f)
		other := f.start()
		eachStep(f, func(call string, n int) bool {
			g := f.read("a")
			writer := f.start()
			tracer := writer.inject(killing.at(call, n))
			writer.tell("here a")
			killed := false
			select {
			case event, alive := <-writer.events:
				require.False(t, alive, "%s: somebody reads", event)
				killed = true
			case <-g.asked:
				killed = n < 4 && tracer.endsWithin(100*time.Millisecond) // else it may look for ever
			}
			tracer.detach()
			writer.kill()
			f.read("a").unlock()
			other.tell("read a")
			other.expect("locked a")
			g.unlock()
			other.tell("unlock a")
			for event := other.next(); event != "unlocked a"; event = other.next() {
				require.Equal(t, "asked a", event)
			}
			f.hold("a").unlock()
			f.mustHold()
			return killed
		})
	})
}

// endsWithin is for processes that are killed without a word.
func (s *tracer) endsWithin(d time.Duration) bool {
	s.f.Helper()
	rest := time.After(d)
	for {
		select {
		case line, alive := <-s.lines:
			if !alive || strings.Contains(line, "killed by SIGKILL") {
				return true
			}
		case <-rest:
			return false
		}
	}
}
