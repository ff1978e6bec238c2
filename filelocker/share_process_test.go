package filelocker_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// among waits for events that come in any order.
func (c *child) among(events ...string) {
	c.f.Helper()
	var got []string
	for range events {
		got = append(got, c.next())
	}
	require.ElementsMatch(c.f, events, got, "the helper process")
}

// read takes shared locks, one after the other.
func (c *child) read(ids ...string) {
	c.f.Helper()
	for _, id := range ids {
		c.tell("read " + id)
		c.expect("locked " + id)
	}
}

// settle returns when the process has had occasion to look at everything it holds, see
// fixture.settle, and has said nothing.
func (c *child) settle() {
	c.f.Helper()
	c.tell("yield settle")
	c.expect("locked settle")
	c.f.hold("settle").unlock()
	c.expect("asked settle", "unlocked settle")
}

func TestReadersOfSeveralProcesses(t *testing.T) {
	eachMode(t, func(f *fixture) {
		a, b := f.start(), f.start()
		a.read("a#1", "a#2")
		made, stamp := f.lockFile("a")
		require.True(f, strings.HasPrefix(stamp, strconv.Itoa(a.cmd.Process.Pid)+"\n"))
		own := f.read("a")
		b.read("a#1", "a#2")
		own2 := f.read("a")
		a.settle()
		b.settle()
		f.settle()
		a.unlock("a#1")
		a.unlock("a#2")
		own.unlock()
		b.unlock("a#2")
		own2.unlock()
		joined, same := f.lockFile("a")
		require.True(f, os.SameFile(made, joined), "it is the file of those who are left")
		require.Equal(f, stamp, same)
		f.read("a").unlock()
		f.mustHold("a.lock")
		b.tell("unlock a#1")
		b.expect("unlocked a#1")
		f.mustHold()
		own.mustNotBeAsked()
		own2.mustNotBeAsked()
	})
}

// Of readers who leave at the same moment, one is the last.
func TestReadersLeaveTogether(t *testing.T) {
	f := setUp(t)
	children := []*child{f.start(), f.start(), f.start()}
	for round := range 100 {
		for _, c := range children {
			c.read("a#1", "a#2")
		}
		var writer *grip
		var written <-chan error
		if round%2 == 1 {
			writer, written = f.queue(context.Background(), "a")
			for _, c := range children {
				c.among("asked a#1", "asked a#2")
			}
		}
		for _, c := range children {
			c.tell("leave a#1")
			c.tell("leave a#2")
		}
		for _, c := range children {
			c.among("unlocked a#1", "unlocked a#2")
		}
		if writer != nil {
			require.NoError(t, receive(f, written, "the writer"))
			writer.mustNotBeAsked()
			writer.unlock()
		}
		f.mustHold()
	}
}

// A writer asks the readers of all processes, each once.
func TestWriterAmongReadersOfSeveralProcesses(t *testing.T) {
	eachMode(t, func(f *fixture) {
		a, b, w := f.start(), f.start(), f.start()
		for range 5 {
			a.read("a#1", "a#2")
			own := f.read("a")
			b.read("a#1", "a#2")
			w.tell("lock a")
			a.among("asked a#1", "asked a#2")
			b.among("asked a#1", "asked a#2")
			own.mustBeAsked()
			// Who comes now is behind the writer, in any process.
			a.tell("read a#3")
			b.tell("read a#3")
			later, done := f.queue(reading(), "a")
			f.mustBeShut("a")
			f.settle()
			for _, c := range []*child{a, b} {
				c.settle()
				c.unlock("a#1")
				c.unlock("a#2")
			}
			require.Empty(f, done)
			require.Empty(f, w.events)
			own.unlock()
			require.EqualValues(f, 1, own.calls.Load())
			w.expect("locked a", "asked a")
			require.Empty(f, done)
			w.unlock("a")
			require.NoError(f, receive(f, done, "the reader of this process"))
			a.expect("locked a#3")
			b.expect("locked a#3")
			a.settle()
			b.settle()
			later.mustNotBeAsked()
			later.unlock()
			a.unlock("a#3")
			b.unlock("a#3")
			f.mustHold()
		}
	})
}

// A writer behind the readers of its own process asks those of the others too, at once.
func TestWriterInLineAsksOtherProcesses(t *testing.T) {
	eachMode(t, func(f *fixture) {
		own := f.read("a")
		other := f.start()
		other.read("a#1")
		writer, written := f.queue(context.Background(), "a")
		own.mustBeAsked()
		other.expect("asked a#1")
		other.tell("read a#2")
		other.settle() // a#2 waits
		other.unlock("a#1")
		require.Empty(f, written)
		own.unlock()
		require.NoError(f, receive(f, written, "the writer"))
		writer.mustBeAsked()
		writer.unlock()
		other.expect("locked a#2")
		other.unlock("a#2")
		f.mustHold()
	})
}

// Readers who come and go, and of whom there always is one, let each writer in.
func TestStreamOfReadersLetsWritersIn(t *testing.T) {
	eachMode(t, func(f *fixture) {
		streams := []*child{f.start(), f.start()}
		for _, c := range streams {
			c.tell("stream a")
			c.expect("streaming a")
		}
		w := f.start()
		for range 10 {
			f.hold("a").unlock()
			w.tell("lock a")
			w.expect("locked a")
			w.unlock("a")
		}
		for _, c := range streams {
			c.tell("cancel a")
			c.expect("ended a")
		}
		f.mustHold()
	})
}

// Readers of several processes who have waited for a writer go on together. None of them asks
// another one, and nothing of their requests stays.
func TestReadersNeverAskReaders(t *testing.T) {
	eachMode(t, func(f *fixture) {
		a, b := f.start(), f.start()
		for range 60 {
			writer := f.hold("a")
			for _, c := range []*child{a, b} {
				c.tell("read a#1")
				c.tell("read a#2")
			}
			own, done := f.queue(reading(), "a")
			writer.mustBeAsked()
			writer.unlock()
			a.among("locked a#1", "locked a#2")
			b.among("locked a#1", "locked a#2")
			require.NoError(f, receive(f, done, "the reader of this process"))
			a.settle()
			b.settle()
			f.mustHold("a.lock")
			own.mustNotBeAsked()
			own.unlock()
			for _, c := range []*child{a, b} {
				for _, id := range []string{"a#1", "a#2"} {
					c.tell("unlock " + id)
					c.expect("unlocked " + id)
				}
			}
			f.mustHold()
		}
	})
}

func TestReaderAsksTheWriterOfAnotherProcess(t *testing.T) {
	eachMode(t, func(f *fixture) {
		other := f.start()
		for range 10 {
			other.tell("yield a")
			other.expect("locked a")
			g := f.read("a")
			other.expect("asked a", "unlocked a")
			g.mustNotBeAsked()
			g.unlock()
			f.mustHold()

			writer := f.hold("a")
			other.tell("read a")
			writer.mustBeAsked()
			writer.unlock()
			other.expect("locked a")
			other.tell("unlock a")
			other.expect("unlocked a")
			f.mustHold()
		}
	})
}

// Whoever of a reader and a writer comes second is the one that asks.
func TestReaderAndWriterWaitTogether(t *testing.T) {
	f := setUp(t)
	r, w := f.start(), f.start()
	for range 20 {
		holder := f.hold("a")
		r.tell("read a")
		w.tell("lock a")
		holder.mustBeAsked()
		holder.unlock()
		first, second := r, w
		select {
		case event := <-r.events:
			require.Equal(t, "locked a", event)
		case event := <-w.events:
			require.Equal(t, "locked a", event)
			first, second = w, r
		}
		first.expect("asked a")
		first.unlock("a")
		second.expect("locked a")
		second.tell("unlock a")
		second.expect("unlocked a")
		f.mustHold()
	}
}
