//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// nameLocker hands over as ours does, by bare calls: a lock is a file that gets its name whole and
// locked, and whoever has it removes it when asked. Those who wait stand in line in flock(2) for the
// request; the first of them tries, and sleeps until something is removed from the directory. Nothing
// ends such a wait, nothing is proven, and nobody comes after the last.
type nameLocker struct{ dir string }

func (l nameLocker) NewLock(id string) (handler.Lock, error) {
	path := filepath.Join(l.dir, id)
	return &nameLock{
		flockLock: flockLock{flockLocker: flockLocker{dir: l.dir, asks: true}, path: path + ".lock", stop: path + ".stop"},
		own:       path + "." + strconv.Itoa(os.Getpid()),
	}, nil
}

type nameLock struct {
	flockLock
	own string // the name under which the lock file is made
}

func (l *nameLock) Lock(_ context.Context, release func()) error {
	if _, err := os.Lstat(l.path); err != nil {
		held, err := l.try()
		switch {
		case err != nil:
			return err
		case held:
			return l.listen(release)
		}
	}
	if err := l.queue(); err != nil {
		return err
	}
	go release() // the request stays
	return nil
}

// queue asks, and returns with the lock.
func (l *nameLock) queue() error {
	request := flockLock{path: l.stop}
	var err error
	if request.file, err = os.OpenFile(l.stop, os.O_RDWR|os.O_CREATE, 0o664); err != nil {
		return err
	}
	defer request.file.Close()
	if err := request.wait(); err != nil {
		return err
	}
	held, err := l.try()
	if held || err != nil {
		return err
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	l.watch = os.NewFile(uintptr(watch), "inotify") // closed behind the lock, as that can take the kernel long
	if _, err := unix.InotifyAddWatch(watch, l.dir, unix.IN_DELETE); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	for b := make([]byte, 4096); ; {
		if held, err := l.try(); held || err != nil {
			return err
		}
		if _, err := unix.Read(watch, b); err != nil && err != unix.EINTR {
			return os.NewSyscallError("read", err)
		}
	}
}

// try gives the lock file its name, if that is free.
func (l *nameLock) try() (held bool, err error) {
	if l.file == nil {
		if l.file, err = os.OpenFile(l.own, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o664); err != nil {
			return false, err
		}
		if err := l.flock(unix.LOCK_EX | unix.LOCK_NB); err != nil {
			return false, err
		}
		if _, err := l.file.Write(exampleStamp()); err != nil {
			return false, err
		}
	}
	err = unix.Renameat2(unix.AT_FDCWD, l.own, unix.AT_FDCWD, l.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("renameat2", err)
}

func (l *nameLock) Unlock() error {
	return errors.Join(os.Remove(l.path), l.flockLock.Unlock())
}
