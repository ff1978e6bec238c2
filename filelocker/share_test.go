package filelocker_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// reading is the context of a reader that waits for as long as it takes.
func reading() context.Context { return filelocker.Reading(context.Background()) }

// read takes a shared lock that has to be free, or to become free.
func (f *fixture) read(id string) *grip {
	f.Helper()
	g := f.newLock(id)
	require.NoError(f, g.readWithin(f.patience()), "the lock %q must be free for readers", id)
	return g
}

func (g *grip) readWithin(d time.Duration) error {
	ctx, cancel := context.WithTimeout(reading(), d)
	defer cancel()
	return g.take(ctx)
}

// mustBeShut requires that a reader cannot have the lock of id.
func (f *fixture) mustBeShut(id string) {
	f.Helper()
	require.Equal(f, handler.ErrLockTimeout, f.newLock(id).readWithin(150*time.Millisecond), "readers of %q must wait", id)
}

// lockFile is which file the lock of id is, and since when: it changes with each holder on disk.
func (f *fixture) lockFile(id string) (os.FileInfo, string) {
	f.Helper()
	info, err := os.Stat(f.path(id + ".lock"))
	require.NoError(f, err)
	stamp, err := os.ReadFile(f.path(id + ".lock"))
	require.NoError(f, err)
	return info, string(stamp)
}

// eachMode runs a test where the kernel reports changes and where it does not.
func eachMode(t *testing.T, run func(f *fixture)) {
	t.Run("events", func(t *testing.T) { run(setUp(t)) })
	t.Run("polling", func(t *testing.T) {
		f := setUpIn(t, ours, t.TempDir(), settings{})
		l := filelocker.New(f.dir).Polling()
		l.HolderPollInterval, l.AcquirerPollInterval = 5*time.Millisecond, 5*time.Millisecond
		f.locker = l
		run(f)
	})
}

// All readers of a process are one hold on disk: the same file, with the same stamp, open once.
func TestReadersShareOneHold(t *testing.T) {
	eachMode(t, func(f *fixture) {
		first := f.read("a")
		before, stamp := f.lockFile("a")
		open := len(descriptors())
		var grips []*grip
		for range 100 {
			grips = append(grips, f.read("a"))
		}
		require.LessOrEqual(f, len(descriptors()), open+3, "a watch may be new, each reader may not")
		first.unlock() // who made the file need not be the last
		for i, g := range grips {
			after, same := f.lockFile("a")
			require.True(f, os.SameFile(before, after), "reader %d", i)
			require.Equal(f, stamp, same, "reader %d", i)
			f.mustHold("a.lock")
			g.mustNotBeAsked()
			g.unlock()
		}
		first.mustNotBeAsked()
		f.mustHold()
	})
}

// The stamp tells people that readers hold the lock; the stock locker sees its first line.
func TestStampOfReaders(t *testing.T) {
	f := setUp(t)
	g := f.read("a")
	_, stamp := f.lockFile("a")
	require.Regexp(t, `^`+strconv.Itoa(os.Getpid())+`\n\{"v":1,.*"mode":"shared".*\}\n$`, stamp)
	g.unlock()
	g = f.hold("a")
	_, stamp = f.lockFile("a")
	require.Contains(t, stamp, `"mode":"exclusive"`)
	g.unlock()
}

// A writer waits for the readers that were there before it and asks each of them once. Readers
// behind it wait for it, and then go on together.
func TestWriterAmongReaders(t *testing.T) {
	eachMode(t, func(f *fixture) {
		readers := []*grip{f.read("a"), f.read("a"), f.read("a")}
		writer, written := f.queue(context.Background(), "a")
		for _, g := range readers {
			g.mustBeAsked()
		}
		var later []*grip
		var done []<-chan error
		for range 3 {
			g, d := f.queue(reading(), "a")
			later, done = append(later, g), append(done, d)
		}
		f.settle()
		for _, g := range readers {
			require.Empty(f, written)
			g.unlock()
		}
		require.NoError(f, receive(f, written, "the writer"))
		writer.mustBeAsked()
		for i := range later {
			require.Empty(f, done[i], "readers wait for the writer")
		}
		writer.unlock()
		for i := range later {
			require.NoError(f, receive(f, done[i], "a reader behind the writer"))
		}
		f.settle()
		for _, g := range later {
			g.mustNotBeAsked()
			g.unlock()
		}
		for _, g := range append(readers, writer) {
			require.EqualValues(f, 1, g.calls.Load(), "calls of the release callback")
		}
		f.mustHold()
	})
}

// The line is first come, first served: readers join those right in front of them only.
func TestReadersAndWritersInLine(t *testing.T) {
	f := setUp(t)
	holder := f.hold("a")
	shared := []bool{true, true, false, true, false, false, true, true}
	grips, dones := make([]*grip, len(shared)), make([]<-chan error, len(shared))
	for i, reads := range shared {
		ctx := context.Background()
		if reads {
			ctx = reading()
		}
		grips[i], dones[i] = f.queue(ctx, "a")
	}
	holder.unlock()
	for _, group := range [][]int{{0, 1}, {2}, {3}, {4}, {5}, {6, 7}} {
		for _, i := range group {
			require.NoError(t, receive(f, dones[i], "the lock was not handed over"))
		}
		for later := group[len(group)-1] + 1; later < len(shared); later++ {
			require.Empty(t, dones[later], "%d must not overtake", later)
		}
		for _, i := range group {
			grips[i].unlock()
		}
	}
	f.mustHold()
}

// A reader asks a writer to let go, as tus clients need it: a HEAD stops the PATCH before it.
func TestReaderAsksTheWriter(t *testing.T) {
	eachMode(t, func(f *fixture) {
		writer := f.hold("a")
		first, firstDone := f.queue(reading(), "a")
		second, secondDone := f.queue(reading(), "a")
		writer.mustBeAsked()
		writer.unlock()
		require.NoError(f, receive(f, firstDone, "the first reader"))
		require.NoError(f, receive(f, secondDone, "the second reader"))
		require.EqualValues(f, 1, writer.calls.Load())
		first.unlock()
		second.unlock()
		first.mustNotBeAsked()
		second.mustNotBeAsked()
		f.mustHold()
	})
}

// A writer that gives up leaves the readers behind it to those in front of it.
func TestCancelledWriterLetsReadersJoin(t *testing.T) {
	f := setUp(t)
	reader := f.read("a")
	ctx, cancel := context.WithCancel(context.Background())
	_, written := f.queue(ctx, "a")
	second, secondDone := f.queue(reading(), "a")
	third, thirdDone := f.queue(reading(), "a")
	fourth, fourthDone := f.queue(context.Background(), "a")
	fifth, fifthDone := f.queue(reading(), "a")
	cancel()
	require.Equal(t, handler.ErrLockTimeout, receive(f, written, "the cancelled writer"))
	require.NoError(t, receive(f, secondDone, "the reader behind the cancelled writer"))
	require.NoError(t, receive(f, thirdDone, "the second one behind it"))
	second.mustBeAsked() // another writer is behind them
	third.mustBeAsked()
	require.Empty(t, fourthDone)
	require.Empty(t, fifthDone)
	reader.unlock()
	second.unlock()
	third.unlock()
	require.NoError(t, receive(f, fourthDone, "the second writer"))
	fourth.unlock()
	require.NoError(t, receive(f, fifthDone, "the last reader"))
	fifth.unlock()
	f.mustHold()
}

// A cancelled reader leaves nothing, wherever it stands.
func TestCancelledReaders(t *testing.T) {
	eachMode(t, func(f *fixture) {
		writer := f.hold("a")
		for range 3 {
			ctx, cancel := context.WithCancel(reading())
			_, done := f.queue(ctx, "a")
			cancel()
			require.Equal(f, handler.ErrLockTimeout, receive(f, done, "a cancelled reader"))
			f.mustBeShut("a")
		}
		writer.unlock()
		f.mustHold()
		ended, cancel := context.WithCancel(reading())
		cancel()
		require.Equal(f, handler.ErrLockTimeout, f.newLock("a").take(ended))
		f.mustHold()
	})
}

// One lock object can be a reader many times over.
func TestReaderIsLockedTwice(t *testing.T) {
	f := setUp(t)
	g := f.read("a")
	require.NoError(t, g.readWithin(f.patience()))
	require.Equal(t, handler.ErrLockTimeout, g.takeWithin(20*time.Millisecond), "no writer beside a reader")
	g.unlock()
	f.mustHold("a.lock")
	f.mustBeBusy("a")
	g.unlock()
	f.mustHold()
	require.ErrorIs(t, g.lock.Unlock(), filelocker.ErrNotHeld)

	other := f.read("a")
	require.ErrorIs(t, g.lock.Unlock(), filelocker.ErrNotHeld, "what another lock object holds")
	f.mustHold("a.lock")
	other.unlock()
	f.mustHold()
}

// In one process: any number of readers, or one writer.
func TestExclusionOfReadersAndWriters(t *testing.T) {
	eachMode(t, func(f *fixture) {
		var inside sync.RWMutex
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				for n := range 40 {
					if err := visit(f.locker, (i+n)%8 != 0, &inside); err != nil {
						f.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		f.hold("a").unlock()
		f.mustHold()
	})
}

// visit holds the lock once; nobody may be inside with whom it must not be shared.
func visit(locker handler.Locker, reads bool, inside *sync.RWMutex) (err error) {
	lock, err := locker.NewLock("a")
	if err != nil {
		return err
	}
	ctx, enter, exit := context.Background(), inside.TryLock, inside.Unlock
	if reads {
		ctx, enter, exit = reading(), inside.TryRLock, inside.RUnlock
	}
	if err := lock.Lock(ctx, nothing); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if !enter() {
		return errors.New("a writer and somebody else")
	}
	defer exit()
	time.Sleep(10 * time.Microsecond)
	return nil
}
