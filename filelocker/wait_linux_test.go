package filelocker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// Who waits for a lock makes no lock file meanwhile: all who wait in the directory are told of
// each.
func TestWaiterMakesNoLockFile(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	holder.tell("here a")
	holder.expect("locked a")
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(events)
	_, err = unix.InotifyAddWatch(events, f.dir, unix.IN_CREATE|unix.IN_MOVED_TO)
	require.NoError(t, err)

	require.Equal(t, error(handler.ErrLockTimeout), f.newLock("a").takeWithin(100*time.Millisecond))
	holder.expect("asked a")
	heard := make([]byte, 1<<16)
	n, err := unix.Read(events, heard)
	require.NoError(t, err)
	require.Contains(t, string(heard[:n]), "a.stop")
	require.NotContains(t, strings.ReplaceAll(string(heard[:n]), "a.stop", ""), "lock")
	holder.unlock("a")
	f.mustHold()
}
