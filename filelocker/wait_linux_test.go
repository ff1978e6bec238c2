package filelocker_test

import (
	"context"
	"strings"
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
