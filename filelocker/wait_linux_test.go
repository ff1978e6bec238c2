package filelocker_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// Who waits for a lock makes one lock file, when it asks, and no other one while it waits: all who
// hear of the directory are told of each. It is gone before anybody could take it for litter.
func TestWaiterMakesOneLockFile(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	holder.tell("here a")
	holder.expect("locked a")
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(events)
	_, err = unix.InotifyAddWatch(events, f.dir, unix.IN_CREATE|unix.IN_MOVED_TO)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, done := f.queue(ctx, "a")
	holder.expect("asked a")
	f.mustBecome("a.lock", "a.stop")
	require.Equal(t, error(handler.ErrLockTimeout), receive(f, done, "the waiter"))
	heard := make([]byte, 1<<16)
	n, err := unix.Read(events, heard)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(heard[:n]), "a.stop"))
	require.Equal(t, 1, strings.Count(string(heard[:n]), ".lock-"))
	require.NotContains(t, string(heard[:n]), "a.lock")
	holder.unlock("a")
	f.mustHold()
}

// The request of one who has got the lock goes soon, and does not ask that one; with an Unlock that comes first, it
// goes too.
func TestRequestGoesAfterTheWait(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	for _, soon := range []bool{false, true, true, true} {
		holder.tell("here a")
		holder.expect("locked a")
		g, done := f.queue(context.Background(), "a")
		holder.expect("asked a")
		holder.unlock("a")
		require.NoError(t, receive(f, done, "the lock"))
		if !soon {
			f.mustBecome("a.lock")
			f.settle()
			g.mustNotBeAsked()
		}
		g.unlock()
		f.mustHold()
	}
}

// Who looks at a request, or is about to remove it, has an exclusive lock on it, and is nobody who waits.
func TestWhoLooksAtARequestDoesNotAsk(t *testing.T) {
	f := setUp(t)
	f.leave("a.stop", "", 0)
	looks, err := os.Open(f.path("a.stop"))
	require.NoError(t, err)
	defer looks.Close()
	require.NoError(t, syscall.Flock(int(looks.Fd()), syscall.LOCK_EX))
	g := f.hold("a")
	f.settle()
	g.mustNotBeAsked()
	require.FileExists(t, f.path("a.stop"))

	require.NoError(t, looks.Close())
	require.Eventually(t, func() bool {
		_, err := os.Lstat(f.path("a.stop"))
		return os.IsNotExist(err)
	}, f.patience(), time.Millisecond, "nobody stands behind it")
	g.mustNotBeAsked()
	g.unlock()
	f.mustHold()
}

// Who stands behind a request has a shared lock on it.
func TestWhoStandsBehindARequestAsks(t *testing.T) {
	f := setUp(t)
	f.leave("a.stop", "", 0)
	stands, err := os.Open(f.path("a.stop"))
	require.NoError(t, err)
	defer stands.Close()
	require.NoError(t, syscall.Flock(int(stands.Fd()), syscall.LOCK_SH))
	g := f.hold("a")
	g.mustBeAsked()
	g.unlock()
	require.FileExists(t, f.path("a.stop"))
	require.NoError(t, stands.Close())
	f.hold("a").unlock()
	f.mustHold()
}
