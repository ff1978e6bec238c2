//go:build unix && !aix

package flock

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// A FIFO under the name must not block. And a file that is opened so is not switched to and
// fro by package os, which saves four system calls.
const openFlag = unix.O_NONBLOCK

// tryLockDir takes the kernel lock on an open directory. NFS wants a descriptor that is open
// for writing, which a directory's cannot be.
func tryLockDir(fd uintptr) error {
	err := filelock.TryLock(fd)
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return errNoDirLock
	}
	return err
}
