//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// boundLocker is nameLocker with what tusd's interface asks of a locker: a wait ends with its context, so what
// the kernel reports comes through a goroutine, and the release callback has one of its own. It takes a dead
// holder's place, and looks whether what was reported is so. There is no queue within the process, and
// nobody comes after the last.
type boundLocker struct{ dir string }

func (l boundLocker) NewLock(id string) (handler.Lock, error) {
	lock, err := nameLocker(l).NewLock(id)
	if err != nil {
		return nil, err
	}
	return &boundLock{nameLock: lock.(*nameLock)}, nil
}

type boundLock struct {
	*nameLock
	seen   unix.Stat_t // what there was to see last
	events chan struct{}
}

func (l *boundLock) Lock(ctx context.Context, release func()) error {
	if err := unix.Stat(l.dir, &l.seen); err != nil {
		return &os.PathError{Op: "stat", Path: l.dir, Err: err}
	}
	if unix.Lstat(l.path, &l.seen) != nil {
		held, err := l.take()
		switch {
		case err != nil:
			return err
		case held:
			return l.listen(func() { l.asked(release) })
		}
	}
	if err := l.queue(ctx); err != nil {
		if l.file != nil {
			err = errors.Join(err, os.Remove(l.own), l.flockLock.Unlock())
		}
		return err
	}
	go release() // the request stays
	return nil
}

// asked looks whether the lock is its own and wanted.
func (l *boundLock) asked(release func()) {
	var at unix.Stat_t
	if unix.Lstat(l.path, &at) == nil && unix.Lstat(l.stop, &at) == nil {
		go release()
	}
}

func (l *boundLock) queue(ctx context.Context) error {
	f, err := os.OpenFile(l.stop, os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return err
	}
	defer f.Close()
	request := flockLock{path: l.stop, file: f}
	if request.flock(unix.LOCK_EX|unix.LOCK_NB) != nil {
		first := make(chan error, 1)
		go func() { first <- request.wait() }()
		select {
		case err = <-first:
		case <-ctx.Done():
			err = handler.ErrLockTimeout
		}
		if err != nil {
			return err
		}
	}
	if held, err := l.take(); held || err != nil {
		return err
	}
	if err := l.hear(); err != nil {
		return err
	}
	for pause := time.Second; ; {
		if held, err := l.take(); held || err != nil {
			return err
		}
		select {
		case <-l.events:
			pause = 250 * time.Microsecond // a death is reported before the kernel lock is free
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-ctx.Done():
			return handler.ErrLockTimeout
		}
	}
}

// hear has a goroutine hear what is removed from the directory or closed in it, until the watch is closed.
func (l *boundLock) hear() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	l.watch = os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, l.dir, unix.IN_DELETE|unix.IN_CLOSE_WRITE); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	l.events = make(chan struct{}, 1)
	go func() {
		for b := make([]byte, 4096); ; {
			if _, err := l.watch.Read(b); err != nil {
				return
			}
			select {
			case l.events <- struct{}{}:
			default:
			}
		}
	}()
	return nil
}

// take gives the lock file its name, if that is free or a dead holder's.
func (l *boundLock) take() (held bool, err error) {
	for again := true; again && !held && err == nil; {
		if held, err = l.try(); !held && err == nil {
			again, err = l.bury()
		}
	}
	if held {
		err = os.NewSyscallError("fstat", unix.Fstat(int(l.file.Fd()), &l.seen))
	}
	return held, err
}

// bury removes the lock file if its holder is dead, and says whether the name is free now.
func (l *boundLock) bury() (free bool, err error) {
	f, err := os.Open(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, os.NewSyscallError("flock", err)
	}
	is, err := f.Stat()
	if err != nil {
		return false, err
	}
	if at, err := os.Lstat(l.path); err != nil || !os.SameFile(is, at) {
		return true, nil // released since it was opened
	}
	return true, os.Remove(l.path)
}

func (l *boundLock) Unlock() error {
	var at unix.Stat_t
	if err := unix.Lstat(l.path, &at); err != nil {
		return &os.PathError{Op: "lstat", Path: l.path, Err: err}
	}
	if at.Ino != l.seen.Ino {
		return fmt.Errorf("%s: was replaced", l.path)
	}
	return l.nameLock.Unlock()
}
