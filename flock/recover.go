package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// recoverStale takes the lock whose file h.file is stale or marked, and returns the hold,
// which has another file than h if the old one had to be removed: then h.file is closed.
// Otherwise closing it is left to the caller.
//
// It is right because the name of the lock file is made and removed, and a stale file taken
// in place, only by the one who has the recovery lock.
func recoverStale(ctx context.Context, h *hold, want kind, busy bool) (*hold, error) {
	r, err := lockRecovery(h.root)
	if err != nil {
		return nil, err
	}
	defer r.unlock()
	if busy {
		err = control(h.file, want)
	}
	switch {
	case ctx.Err() != nil:
		return nil, errStale
	case err == nil:
		return h, h.takeInPlace()
	case !errors.Is(err, filelock.ErrBusy):
		return nil, err
	}
	if err := h.removeStale(ctx, r.now()); err != nil {
		return nil, err
	}
	successor, err := r.create(h.root, want)
	if err == nil {
		_ = h.file.Close()
	}
	return successor, err
}

// errStale says why a lock is not taken that may be free.
var errStale = fmt.Errorf("stale, and the context has ended: %w", filelock.ErrBusy)

// createNew takes the lock with a file that it creates. The context does not matter: nothing
// is recovered.
func createNew(root *os.Root, want kind) (*hold, error) {
	r, err := lockRecovery(root)
	if err != nil {
		return nil, err
	}
	defer r.unlock()
	return r.create(root, want)
}

// create takes the lock with a new file. Others can be quicker to lock it, and have it then.
func (recovery) create(root *os.Root, want kind) (*hold, error) {
	f, err := create(root)
	if err != nil {
		return nil, err
	}
	h := &hold{root: root, file: f}
	if err = control(f, want); err == nil {
		h.info, err = f.Stat()
	}
	if err == nil {
		err = h.take()
	}
	if err != nil {
		_ = release(f)
		return nil, err
	}
	return h, nil
}

// takeInPlace takes a file with the recovery lock held, so that a mark on it is a leftover.
func (h *hold) takeInPlace() error {
	if err := control(h.file, touch); err != nil {
		return fmt.Errorf("touch: %w", err)
	}
	name, err := named(h.root, h.info)
	if err == nil && marked(name) {
		clearMark(h.file, name)
	}
	return err
}

// removeStale removes the lock file, whose kernel lock a frozen holder has, unless it turns
// out to be refreshed or replaced.
func (h *hold) removeStale(ctx context.Context, now time.Time) error {
	name, err := named(h.root, h.info)
	if err != nil {
		return err
	}
	if now.Sub(name.ModTime()) <= StaleAfter {
		return filelock.ErrBusy
	}
	setMark(h.file, name)
	last, err := h.file.Stat()
	if err == nil && (!last.ModTime().Equal(name.ModTime()) || ctx.Err() != nil) {
		err = filelock.ErrBusy
	}
	if err == nil {
		err = h.root.Remove(LockFile)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a stranger was quicker
	}
	if err != nil {
		clearMark(h.file, name)
	}
	return err
}

// recovery is the kernel lock that all who recover share: on the directory itself, which no
// one can replace, or on RecoveryFile.
type recovery struct{ file *os.File }

// lockRecovery fails with an error that matches filelock.ErrBusy when somebody else has the
// lock. That one may stand still for long, so the error says what it is that is busy.
func lockRecovery(root *os.Root) (recovery, error) {
	r, err := tryRecovery(root)
	if errors.Is(err, filelock.ErrBusy) {
		err = fmt.Errorf("being created or recovered: %w", err)
	}
	return r, err
}

func tryRecovery(root *os.Root) (recovery, error) {
	f, err := root.Open(".")
	if err != nil {
		return recovery{}, err
	}
	if err = control(f, tryLockDir); err == nil {
		return recovery{f}, nil
	}
	_ = f.Close()
	if !errors.Is(err, errNoDirLock) {
		return recovery{}, err
	}
	f, err = root.OpenFile(RecoveryFile, os.O_RDWR|os.O_CREATE|openFlag, 0o600)
	if err != nil {
		return recovery{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "lock", Path: RecoveryFile, Err: errNotRegular}
	}
	if err == nil {
		err = control(f, filelock.TryLock)
	}
	if err != nil {
		_ = f.Close()
		return recovery{}, err
	}
	return recovery{f}, nil
}

// errNoDirLock says that directories cannot be locked here. All who share the directory must
// come to the same verdict, so it is never guessed from an error that may pass.
var errNoDirLock = errors.New("directory cannot be locked")

func (r recovery) unlock() { _ = release(r.file) }

// now is the time by the clock that stamps the files, which on a file server may be far from
// ours. Who may remove the lock file may also touch the directory.
func (r recovery) now() time.Time {
	if control(r.file, touch) == nil {
		if info, err := r.file.Stat(); err == nil {
			return info.ModTime()
		}
	}
	return time.Now()
}
