// Package filelock is the kernel's advisory lock on an open file: try, and give back.
//
// A lock belongs to the open file description, not to the process: two descriptors
// opened separately exclude each other inside one process as well, a duplicated or
// inherited descriptor shares the lock, and closing the last of them, also by the death
// of its process, frees it (flock(2), LockFileEx). The lock is advisory on every system:
// it does not keep anybody from reading, writing, renaming or removing the file.
//
// The package never waits. Whoever has to wait knows better what to wait for.
package filelock

import "errors"

// ErrBusy says that another open file holds a lock that conflicts with the one asked for.
var ErrBusy = errors.New("file is locked")

// TryLock takes the exclusive lock on the open file fd.
//
// It returns [ErrBusy] when somebody else has a lock on the file, and an error that
// matches [errors.ErrUnsupported] when the system or the file system has no such locks.
// A shared lock held through fd is converted; on Unix a refused conversion loses it
// (flock(2): the conversion is not atomic). On some network file systems fd must be open
// for writing, else the answer is EBADF (flock(2), "NFS details").
func TryLock(fd uintptr) error { return tryLock(fd) }

// TryRLock takes a shared lock on the open file fd, which any number of open files can
// have at once. Errors are those of [TryLock].
func TryRLock(fd uintptr) error { return tryRLock(fd) }

// Unlock gives back the lock held through fd.
//
// Call it before closing: a child process between fork and exec has a copy of the
// descriptor for a moment, and the lock would live on until that copy is gone.
// Unlocking a file that is not locked is not an error on Unix and one on Windows.
func Unlock(fd uintptr) error { return unlock(fd) }
