package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

const (
	// The pauses between two tries.
	minPause = 10 * time.Millisecond
	maxPause = 100 * time.Millisecond

	// So long after a refresh the file is not refreshed again by being taken.
	freshFor = time.Second
)

// kind is the kernel lock that is wanted: filelock.TryLock or filelock.TryRLock.
type kind func(fd uintptr) error

func lock(ctx context.Context, root *os.Root, want kind) (UnlockFunc, error) {
	logger, _ := ctx.Value(loggerKey{}).(*slog.Logger)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		h, err := try(ctx, root, want)
		switch {
		case err == nil:
			return h.start(ctx, logger), nil
		case !inVain(err):
			if ended := sleep(ctx, pause); ended != nil {
				path := filepath.Join(root.Name(), LockFile)
				return nil, fmt.Errorf("%w: %s: %w: %w", ErrLockUnsuccessful, path, err, ended)
			}
		default:
			return nil, fmt.Errorf("%w: %w", ErrLockUnsuccessful, inRoot(root, err))
		}
	}
}

// inVain tells errors that another try would meet again from those of a lost race.
func inVain(err error) bool {
	return !errors.Is(err, filelock.ErrBusy) && !errors.Is(err, errRemoved) && !errors.Is(err, errReplaced)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// try tries once.
//
// What keeps it right beside a recovery: whoever takes the lock sets the time of the file, or
// finds it just set, and then looks at its name and its mark; whoever removes a stale file
// marks it and then looks at its time. So one of the two sees the other, however long either
// stands still in between, and that one gives way.
func try(ctx context.Context, root *os.Root, want kind) (*hold, error) {
	f, err := open(root)
	if errors.Is(err, fs.ErrNotExist) {
		return createNew(root, want)
	}
	if err != nil {
		return nil, err
	}
	h := &hold{root: root, file: f}
	err = control(f, want)
	busy := errors.Is(err, filelock.ErrBusy)
	if err == nil || busy {
		var serr error
		if h.info, serr = f.Stat(); serr != nil {
			err, busy = serr, false
		}
	}
	switch {
	case err != nil && !busy:
	case !h.info.Mode().IsRegular():
		err = errNotRegular
	case time.Since(h.info.ModTime()) > StaleAfter, !busy && marked(h.info):
		var successor *hold
		if successor, err = recoverStale(ctx, h, want, busy); err == nil {
			return successor, nil
		}
	case !busy:
		if err = h.take(); err == nil {
			return h, nil
		}
	}
	_ = release(f)
	return nil, err
}

// take makes a hold of the kernel lock on h.file, if the file may be taken.
func (h *hold) take() error {
	// Otherwise each of many short holds in a row would write to the disk.
	h.age = time.Since(h.info.ModTime())
	if h.age < 0 || h.age > freshFor || !ownClock(h.info) {
		if err := control(h.file, touch); err != nil {
			return fmt.Errorf("touch: %w", err)
		}
		h.age = 0
	}
	name, err := named(h.root, h.info)
	if err == nil && marked(name) {
		err = errReplaced // as good as
	}
	return err
}

// The mark says that a file is about to be removed. It must be a part of the file that can be
// set without changing its time.
const mark fs.FileMode = 0o100

func marked(info fs.FileInfo) bool { return info.Mode()&mark != 0 }

// setMark fails on a file of somebody else's and where the file system has no permissions. A
// recovery then has nothing but the recovery lock, and a holder that wakes and unlocks within
// the microseconds between its last look and its removal can have a successor that loses the
// file at once, and is told so.
func setMark(f *os.File, info fs.FileInfo)   { _ = f.Chmod(info.Mode().Perm() | mark) }
func clearMark(f *os.File, info fs.FileInfo) { _ = f.Chmod(info.Mode().Perm() &^ mark) }
