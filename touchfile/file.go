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

// acquire waits for the kernel lock on the file at path, from that time on.
func acquire(ctx context.Context, path string, kind LockType, begin time.Time) (*file, error) {
	if !begin.IsZero() {
		sleep(ctx, time.Until(begin))
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		if err := contextError(ctx); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		f, err := try(path, kind)
		if err == nil || !errors.Is(err, filelock.ErrBusy) && !errors.Is(err, errReplaced) {
			return f, err
		}
		sleep(ctx, pause)
	}
}

// sleep sleeps until ctx ends at the latest.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
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
	err = f.tryLock(path, kind)
	if needsWriting(err) {
		_ = f.close()
		if f, err = openAs(path, os.O_RDWR); err != nil {
			return nil, err
		}
		err = f.tryLock(path, kind)
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
	f, err := openFile(path, flag)
	if err != nil {
		return nil, err
	}
	if err := checkMode(path, f.mode()); err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

func checkMode(path string, mode fs.FileMode) error {
	switch {
	case mode.IsDir():
		return &fs.PathError{Op: "lock", Path: path, Err: syscall.EISDIR}
	case !mode.IsRegular():
		return &fs.PathError{Op: "lock", Path: path, Err: errNotRegular}
	}
	return nil
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
	same, err := f.isAt(path)
	if err == nil && !same || errors.Is(err, fs.ErrNotExist) {
		return errReplaced
	}
	return err
}

func (f *file) tryLock(path string, kind LockType) error {
	op := filelock.TryLock
	if kind == Shared {
		op = filelock.TryRLock
	}
	if err := op(f.descriptor()); err != nil {
		return &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return nil
}

// release unlocks before it closes: a child between fork and exec has a copy of the
// descriptor, and the lock would last as long as that one.
func (f *file) release() error {
	err := filelock.Unlock(f.descriptor())
	if cerr := f.close(); err == nil {
		err = cerr
	}
	return err
}
