package filelock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// A locked range on Windows cannot be read through other handles. The lock is one byte far
// behind any content, so that everybody can still read the file.
const (
	lockOffsetLow  = 0xfffffffe
	lockOffsetHigh = 0x7fffffff
)

func tryLock(fd uintptr) error  { return lockFile(fd, windows.LOCKFILE_EXCLUSIVE_LOCK) }
func tryRLock(fd uintptr) error { return lockFile(fd, 0) }

func unlock(fd uintptr) error {
	at := windows.Overlapped{Offset: lockOffsetLow, OffsetHigh: lockOffsetHigh}
	if err := windows.UnlockFileEx(windows.Handle(fd), 0, 1, 0, &at); err != nil {
		return fmt.Errorf("UnlockFileEx: %w", err)
	}
	return nil
}

// lockFile locks anew; unlike flock, LockFileEx stacks locks of one handle, so a conversion
// gives back what is held first.
func lockFile(fd uintptr, flags uint32) error {
	_ = unlock(fd)
	at := windows.Overlapped{Offset: lockOffsetLow, OffsetHigh: lockOffsetHigh}
	err := windows.LockFileEx(windows.Handle(fd), flags|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return ErrBusy
	case errors.Is(err, windows.ERROR_NOT_SUPPORTED), errors.Is(err, windows.ERROR_INVALID_FUNCTION):
		return fmt.Errorf("LockFileEx: %w: %w", errors.ErrUnsupported, err)
	default:
		return fmt.Errorf("LockFileEx: %w", err)
	}
}
