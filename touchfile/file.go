package touchfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// The pauses between two looks at a file that another process has locked.
const (
	minPause = 1 * time.Millisecond
	maxPause = 10 * time.Millisecond
)

var (
	errReplaced   = errors.New("file was removed or replaced")
	errNotRegular = errors.New("not a regular file")
)

// file is an open and locked file.
type file struct {
	*os.File
	info fs.FileInfo // which file it is
}

// acquire waits for the kernel lock on the file at path.
func acquire(ctx context.Context, path string, kind LockType) (*file, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		if err := contextError(ctx); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		f, err := try(path, kind)
		if err == nil || !errors.Is(err, filelock.ErrBusy) && !errors.Is(err, errReplaced) {
			return f, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// try opens the file anew for each look, because the path may name another one since the
// last. It is compared after the lock was granted: from then on nobody who keeps to this
// package has the lock on another file of that name.
func try(path string, kind LockType) (*file, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	err = f.tryLock(kind)
	if needsWriting(err) {
		_ = f.Close()
		if f, err = openAs(path, os.O_RDWR); err != nil {
			return nil, err
		}
		err = f.tryLock(kind)
	}
	if err == nil {
		err = f.compare(path)
	}
	if err != nil {
		_ = f.release()
		return nil, err
	}
	return f, nil
}

// open opens the file for reading. A descriptor for writing would keep a program from being
// run, and is refused for one that runs. An existing file is opened without O_CREATE, which is
// refused for another user's file in a sticky directory (fs.protected_regular).
func open(path string) (*file, error) {
	f, err := openAs(path, os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrPermission):
		f, err = openAs(path, os.O_WRONLY)
	case errors.Is(err, fs.ErrNotExist):
		f, err = openAs(path, os.O_RDONLY|os.O_CREATE)
		if errors.Is(err, fs.ErrNotExist) {
			if perr := checkParent(path); perr != nil {
				err = perr
			}
		}
	}
	return f, err
}

func openAs(path string, flag int) (*file, error) {
	f, err := os.OpenFile(path, flag|openFlag, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = &fs.PathError{Op: "lock", Path: path, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		err = &fs.PathError{Op: "lock", Path: path, Err: errNotRegular}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &file{f, info}, nil
}

func checkParent(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("directory of %s: %w", path, err)
	case !info.IsDir():
		return fmt.Errorf("directory of %s: %w", path, &fs.PathError{Op: "stat", Path: dir, Err: syscall.ENOTDIR})
	}
	return nil
}

// compare returns errReplaced when path does not name f.
func (f *file) compare(path string) error {
	named, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errReplaced
	case err != nil:
		return err
	case !os.SameFile(f.info, named):
		return errReplaced
	}
	return nil
}

func (f *file) tryLock(kind LockType) error {
	op := filelock.TryLock
	if kind == Shared {
		op = filelock.TryRLock
	}
	if err := f.control(op); err != nil {
		return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}

// release unlocks before it closes: a child between fork and exec has a copy of the
// descriptor, and the lock would last as long as that one.
func (f *file) release() error {
	err := f.control(filelock.Unlock)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// control calls op with the descriptor of f.
func (f *file) control(op func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var operr error
	if err := conn.Control(func(fd uintptr) { operr = op(fd) }); err != nil {
		return err
	}
	return operr
}
