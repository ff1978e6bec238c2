// Package touchfile locks one file, shared or exclusive, between goroutines and processes.
//
//	t, err := touchfile.NewTouchFile("/run/lock/report")
//	if err != nil {
//		return err
//	}
//	err = t.WithLock(ctx, touchfile.Exclusive, writeReport)
//
// # What is guaranteed
//
// While somebody holds the file exclusively, nobody else holds it: no goroutine on the same
// [TouchFile], none on another one with the same path, no other process of this machine.
// Whoever gets the lock has it on the file that the path names at that moment; a file that
// was removed or replaced while others waited for it is left behind.
//
// On one TouchFile the lock is given in the order in which it was asked for. Readers that ask
// at the same time share it, and a reader that asks after a waiting writer gets it after that
// writer, so that no stream of readers keeps a writer out.
//
// Goroutines that wait for one another keep the file open and locked and hand it over. After
// 100 ms of that, and the hold that lasts then, it is unlocked and left alone for 12 ms, in
// which waiters elsewhere look at it.
//
// A lock lasts until it is given up or its process dies, also if the TouchFile is garbage by
// then; when the process dies the kernel frees it at once. A process that it started does not
// inherit it.
//
// The file stays when the lock is given up, and its content and times are never touched. It
// is opened for reading only wherever that is enough, so a running program can be locked, and
// a locked program can be run. One that cannot be read is opened for writing only.
//
// # What is not guaranteed
//
// The lock is advisory. If the file is removed or replaced while it is held, its holder keeps
// what it has, and others can lock the new file beside it: do not remove a file that is
// locked, not even by its holder.
//
// Between processes, and between several TouchFiles in one process, there is no order. A
// waiter looks after 1 ms and then more and more seldom, up to every 10 ms. Whoever locks and
// unlocks in a loop, and readers elsewhere that always overlap, can keep it waiting.
//
// Locks are not reentrant: a goroutine that holds the lock exclusively and asks for it again
// waits for itself until its context ends. A shared lock is not turned into an exclusive one.
//
// # File systems and systems
//
// The lock is flock(2) or, on Windows, LockFileEx. All users must share a kernel; on NFS it
// is as good as the server's locks and the clients' caches of file attributes, and the file
// must be writable for an exclusive lock. Where there are no such locks the error matches
// [errors.ErrUnsupported].
package touchfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// LockType says with whom a lock can be shared.
type LockType int

const (
	Exclusive LockType = iota // with nobody
	Shared                    // with any number of other shared ones
)

// TouchFile is a file to lock. All its methods can be called concurrently. There is nothing
// to close: the file is open only while it is locked or tried. It must not be copied.
type TouchFile struct {
	path  string
	queue queue
}

// NewTouchFile returns a TouchFile for path, which is made absolute. A file that does not
// exist is created with mode 0600 by the first lock, not before. The directory of path must
// exist, else the error matches [io/fs.ErrNotExist], and path must not be a directory or
// anything else that is no regular file. A symbolic link is followed.
//
// If path is empty a new file is created in the directory of [os.TempDir]. Its name is that
// of [TouchFile.Path], and the caller's to remove in the end.
func NewTouchFile(path string) (*TouchFile, error) {
	if path == "" {
		f, err := os.CreateTemp("", "touchfile-*")
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		path = f.Name()
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := checkParent(path); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil {
		if err := checkMode(path, info.Mode()); err != nil {
			return nil, err
		}
	}
	return &TouchFile{path: path}, nil
}

// Path returns the absolute path of the file.
func (t *TouchFile) Path() string { return t.path }

// Lock locks the file. It waits until it has the lock or ctx ends, and fails at once if ctx
// has ended already, if lockType is not one of the two, or if the file cannot be opened or
// locked, for example because it is a directory.
//
// An error because of ctx matches ctx.Err() and [context.Cause].
func (t *TouchFile) Lock(ctx context.Context, lockType LockType) error {
	if lockType != Exclusive && lockType != Shared {
		return fmt.Errorf("lock %s: unknown lock type %d", t.path, int(lockType))
	}
	return t.lock(ctx, lockType)
}

// ExclusiveLock is Lock with [Exclusive].
func (t *TouchFile) ExclusiveLock(ctx context.Context) error { return t.Lock(ctx, Exclusive) }

// SharedLock is Lock with [Shared].
func (t *TouchFile) SharedLock(ctx context.Context) error { return t.Lock(ctx, Shared) }

// WithLock calls f while it holds the file and returns f's error. It unlocks also when f
// panics or ends its goroutine. If the unlocking fails, that error is joined to f's. The
// function must not call [TouchFile.Unlock] itself.
func (t *TouchFile) WithLock(ctx context.Context, lockType LockType, f func() error) (err error) {
	if err := t.Lock(ctx, lockType); err != nil {
		return err
	}
	defer func() {
		if uerr := t.Unlock(); uerr != nil {
			err = errors.Join(err, uerr)
		}
	}()
	return f()
}

// Unlock gives up the exclusive lock, or one of the shared ones. Without a lock it does
// nothing and returns nil. Each successful Lock needs one Unlock, by any goroutine: one too
// many gives up the lock of somebody else.
//
// After an error the lock is given up nevertheless.
func (t *TouchFile) Unlock() error {
	if err := t.unlock(); err != nil {
		return fmt.Errorf("unlock %s: %w", t.path, err)
	}
	return nil
}
