//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// flockLocker waits in flock(2), which nobody hears of and no context ends: that is how soon
// the kernel has one process go on after another one.
//
// One that asks first makes a file. Whoever holds the lock is told of that by inotify, or
// finds it there. It is as little as two processes can do that wait for each other by files.
type flockLocker struct {
	dir  string
	asks bool
}

func (l flockLocker) NewLock(id string) (handler.Lock, error) {
	return &flockLock{flockLocker: l, path: filepath.Join(l.dir, id+".lock"), stop: filepath.Join(l.dir, id+".stop")}, nil
}

type flockLock struct {
	flockLocker
	path, stop string
	file       *os.File
	watch      *os.File // of the one whom nobody has asked yet
}

func (l *flockLock) Lock(_ context.Context, release func()) (err error) {
	if l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o664); err != nil {
		return err
	}
	if !l.asks {
		return l.wait()
	}
	switch err := l.flock(unix.LOCK_EX | unix.LOCK_NB); {
	case err == nil:
		return l.listen(release)
	case !errors.Is(err, unix.EWOULDBLOCK):
		return err
	}
	f, err := os.OpenFile(l.stop, os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return err
	}
	f.Close()
	if err := l.wait(); err != nil {
		return err
	}
	go release()
	return nil
}

func (l *flockLock) wait() error { return l.flock(unix.LOCK_EX) }

func (l *flockLock) flock(how int) error {
	for {
		err := unix.Flock(int(l.file.Fd()), how)
		if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// listen waits for a request. Only the bench removes one, when all have had the lock.
func (l *flockLock) listen(release func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	l.watch = os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, l.dir, unix.IN_CREATE); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	if _, err := os.Lstat(l.stop); err == nil {
		go release()
		return nil
	}
	go func() {
		var b [4096]byte
		if _, err := l.watch.Read(b[:]); err == nil {
			release()
		}
	}()
	return nil
}

// listenOnly hears of what can happen to a lock file and of requests, until the process ends,
// and does nothing about it. Reading a whole burst at a time is the cheapest.
func listenOnly(dir string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE); err != nil {
		watch.Close()
		return os.NewSyscallError("inotify_add_watch", err)
	}
	go func() {
		b := make([]byte, 64<<10)
		for {
			if _, err := watch.Read(b); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return nil
}

func (l *flockLock) Unlock() error {
	err := l.file.Close()
	if l.watch != nil {
		l.watch.Close()
	}
	return err
}
