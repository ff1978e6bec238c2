package filelocker_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

func TestHandOverBetweenProcesses(t *testing.T) {
	f := setUp(t)
	other := f.start()
	for range 20 {
		other.tell("yield a")
		other.expect("locked a")
		g := f.hold("a") // which has the other process unlock
		other.expect("asked a", "unlocked a")
		g.mustNotBeAsked()

		other.tell("lock a")
		g.mustBeAsked()
		g.unlock()
		other.expect("locked a")
		other.tell("unlock a")
		other.expect("unlocked a")
		f.mustHold()
	}
}

// The holder that has to let go may be one of many, and the one that waits is told of
// nothing else.
func TestRequestsReachTheirHolders(t *testing.T) {
	f := setUp(t)
	a, b, nested := f.hold("a"), f.hold("b"), "folder/a"
	require.NoError(t, os.Mkdir(f.path("folder"), 0o777))
	c := f.hold(nested)
	other := f.start()
	other.tell("lock b")
	b.mustBeAsked()
	other.tell("lock " + nested)
	c.mustBeAsked()
	a.mustNotBeAsked()
	for _, g := range []*grip{a, b, c} {
		g.unlock()
	}
	got := []string{other.next(), other.next()}
	require.ElementsMatch(t, []string{"locked b", "locked " + nested}, got)
}

func TestKilledHolderWakesTheWaiter(t *testing.T) {
	f := setUp(t)
	for range 10 {
		holder := f.start()
		holder.tell("here a")
		holder.expect("locked a")
		g, done := f.queue(context.Background(), "a")
		holder.expect("asked a")
		holder.kill()
		require.NoError(t, receive(f, done, "the lock of a killed process"))
		g.unlock()
		f.mustHold()
	}
}

// The waiters of several processes share one request. It stays until the last one is gone,
// also if some of them are killed.
func TestWaitersOfSeveralProcesses(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	waiters := []*child{f.start(), f.start(), f.start()}
	for _, w := range waiters {
		w.tell("lock a")
	}
	g.mustBeAsked()
	waiters[0].kill()
	g.unlock()
	left := waiters[1:]
	for len(left) > 0 {
		for i, w := range left {
			select {
			case event := <-w.events:
				require.Equal(t, "locked a", event)
			case <-time.After(10 * time.Millisecond):
				continue
			}
			w.unlock("a")
			left = append(left[:i:i], left[i+1:]...)
			break
		}
	}
	f.hold("a").unlock()
	f.mustHold()
}

// A chain of hand-overs within one process ends when another process asks.
func TestBusyProcessLetsOthersIn(t *testing.T) {
	f := setUp(t)
	stop := make(chan struct{})
	done := make(chan error, 3)
	for range cap(done) {
		go func() { done <- hammer(f, "a", stop) }()
	}
	other := f.start()
	for range 5 {
		other.tell("lock a")
		other.expect("locked a")
		other.unlock("a")
	}
	close(stop)
	for range cap(done) {
		require.NoError(t, receive(f, done, "a goroutine still waits"))
	}
	f.mustHold()
}

// hammer locks and unlocks without a pause.
func hammer(f *fixture, id string, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		lock, err := f.locker.NewLock(id)
		if err == nil {
			err = lock.Lock(context.Background(), func() {})
		}
		if err == nil {
			err = lock.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// One directory has many names, and any number of lockers can be made for it.
func TestAllNamesOfADirectory(t *testing.T) {
	f := setUp(t)
	parent, base := filepath.Dir(f.dir), filepath.Base(f.dir)
	t.Chdir(parent)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(f.dir, link); err != nil {
		need(t, "the right to make symlinks", runtime.GOOS != "windows")
		t.Fatal(err)
	}
	g := f.hold("a")
	for _, name := range []string{
		f.dir, f.dir + string(filepath.Separator), base, "./" + base, base + "/../" + base, link, link + "/.",
	} {
		same := setUpIn(t, f.kind, name, f.set)
		same.mustBeBusy("a")
		require.EqualValues(t, 1, g.calls.Load(), "by the name %q, it is the same lock", name)
		other := f.start(at(name))
		own := same.hold("b")
		other.tell("lock b")
		own.mustBeAsked()
		own.unlock()
		other.expect("locked b")
		other.end()
	}
	g.unlock()
	f.hold("b").unlock()
	f.mustHold()
}

// A process that changes its working directory does not change what its locks lock.
func TestRelativePathAfterChdir(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(first, "uploads"), 0o777))
	require.NoError(t, os.Mkdir(filepath.Join(second, "uploads"), 0o777))
	f := setUpIn(t, underTest(), "uploads", settings{})
	t.Chdir(first)
	a := f.hold("a")
	t.Chdir(second)
	b := f.hold("a")
	f.mustHold("a.lock")
	a.unlock()
	f.mustHold("a.lock")
	b.unlock()
	f.mustHold()
	t.Chdir(first)
	f.mustHold()
}

// Who waits when a lock is lost gets it from the disk, where its successor has it by then.
func TestWaiterBehindALostLock(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	waiter, done := f.queue(context.Background(), "a")
	require.NoError(t, os.Remove(f.path("a.lock")))
	successor := f.start()
	successor.tell("lock a")
	successor.expect("locked a")
	require.ErrorIs(t, g.lock.Unlock(), filelocker.ErrLockLost)
	require.Empty(t, done)
	successor.expect("asked a")
	successor.unlock("a")
	require.NoError(t, receive(f, done, "the waiter"))
	waiter.unlock()
	f.mustHold()
}
