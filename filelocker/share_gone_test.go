package filelocker_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

const timedOut = "ERR_LOCK_TIMEOUT: failed to acquire lock before timeout"

// The request of a writer that is no more, or wants no more, keeps nobody out: not those who
// waited behind it, in line or on disk, and not those who come later.
func TestGoneWriterKeepsNobodyOut(t *testing.T) {
	for name, end := range map[string]func(w *child){
		"killed": (*child).kill,
		"cancelled": func(w *child) {
			w.tell("cancel a")
			w.expect("failed a: " + timedOut)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(f *fixture) {
				r := f.start()
				for range 5 {
					own := f.read("a")
					w := f.start()
					w.tell("lock a")
					own.mustBeAsked()
					r.tell("read a#1")
					r.tell("read a#2")
					inLine, done := f.queue(reading(), "a")
					r.settle() // they wait
					end(w)
					require.NoError(f, receive(f, done, "the reader in line"))
					r.among("locked a#1", "locked a#2")
					later := f.read("a")
					r.read("a#3")
					inLine.unlock()
					own.unlock()
					later.unlock()
					for _, id := range []string{"a#1", "a#2", "a#3"} {
						r.tell("unlock " + id)
						r.expect("unlocked " + id)
					}
					f.mustHold()
				}
			})
		})
	}
}

// A reader that is cancelled or killed while it waits leaves nothing to the readers after it.
func TestGoneReader(t *testing.T) {
	f := setUp(t)
	for _, killed := range []bool{false, true, false, true} {
		writer := f.hold("a")
		r := f.start()
		r.tell("read a")
		writer.mustBeAsked()
		if killed {
			r.kill()
		} else {
			r.tell("cancel a")
			r.expect("failed a: " + timedOut)
			f.mustHold("a.lock")
		}
		writer.unlock()
		g := f.read("a")
		f.settle()
		g.mustNotBeAsked()
		f.mustHold("a.lock")
		g.unlock()
		f.mustHold()
	}
}

// The hold of readers outlives any of them, also who made the file.
func TestKilledReaders(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}} {
		f := setUp(t)
		var readers []*child
		for range order {
			c := f.start()
			c.read("a#1", "a#2")
			readers = append(readers, c)
		}
		writer, written := f.queue(context.Background(), "a")
		for _, c := range readers {
			c.among("asked a#1", "asked a#2")
		}
		for _, i := range order {
			f.settle()
			require.Empty(f, written, "somebody still reads")
			readers[i].kill()
		}
		require.NoError(f, receive(f, written, "the lock of killed readers"))
		f.settle()
		writer.mustNotBeAsked()
		f.mustHold("a.lock")
		writer.unlock()
		f.mustHold()
	}
}

// Readers also join and outlive a reader that is dead already, and who reads after all are dead
// takes over.
func TestReadersAfterKilledReaders(t *testing.T) {
	f := setUp(t)
	maker := f.start()
	maker.read("a#1")
	own := f.read("a")
	maker.kill()
	other := f.start()
	other.read("a#1")
	own.unlock()
	f.mustHold("a.lock")
	f.mustBeBusy("a")
	other.expect("asked a#1")
	other.kill()
	f.mustHold("a.lock")
	own = f.read("a")
	f.settle()
	own.mustNotBeAsked()
	own.unlock()
	f.mustHold()
}

// All readers of a lost lock are told, and none of them touches what is there instead.
func TestLossIsToldToAllReaders(t *testing.T) {
	for name, takeAway := range map[string]func(*fixture){
		"removed": func(f *fixture) { require.NoError(f, os.Remove(f.path("a.lock"))) },
		"replaced": func(f *fixture) {
			f.leave("successor", "1\n", 0)
			require.NoError(f, os.Rename(f.path("successor"), f.path("a.lock")))
		},
		"replaced by a writer": func(f *fixture) {
			require.NoError(f, os.Remove(f.path("a.lock")))
			w := f.start()
			w.tell("lock a")
			w.expect("locked a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(f *fixture) {
				grips := []*grip{f.read("a"), f.read("a")}
				other := f.start()
				other.read("a#1", "a#2")
				takeAway(f)
				after := snapshot(f, f.dir)
				other.among("asked a#1", "asked a#2")
				for _, id := range []string{"a#1", "a#2"} {
					other.tell("unlock " + id)
					require.Contains(f, other.next(), filelocker.ErrLockLost.Error())
				}
				for _, g := range grips {
					g.mustBeAsked()
					require.ErrorIs(f, g.lock.Unlock(), filelocker.ErrLockLost)
					require.ErrorIs(f, g.lock.Unlock(), filelocker.ErrNotHeld)
					require.EqualValues(f, 1, g.calls.Load())
				}
				require.Equal(f, after, snapshot(f, f.dir), "somebody else's files")
			})
		})
	}
}

// Who leaves is told of a loss also if nobody has noticed it before.
func TestLossIsFoundByUnlock(t *testing.T) {
	f := setUp(t)
	other := f.start()
	for range 20 {
		own := f.read("a")
		other.read("a")
		require.NoError(t, os.Remove(f.path("a.lock")))
		require.ErrorIs(t, own.lock.Unlock(), filelocker.ErrLockLost)
		other.tell("unlock a")
		event := other.next()
		if event == "asked a" {
			event = other.next()
		}
		require.Contains(t, event, filelocker.ErrLockLost.Error())
		f.mustHold()
	}
}
