//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	stocklocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// The peers, as they are called in the results.
const (
	ours       = "ours"
	stock      = "stock"        // with the intervals that its New sets: 5 s and 2 s
	stockFast  = "stock, 10 ms" // both intervals
	memory     = "memorylocker"
	noLocker   = "no locker"
	ourServer  = "tusd-filelock" // the program itself
	channel    = "channel"
	floor      = "floor"                // the file appears whole and locked
	floorShort = "floor without rename" // it can be seen empty and unlocked
	floorLooks = "floor with looks"     // and makes sure of what a lock is to keep
	floorOpens = "floor, folder opened" // in a folder that is opened for it, unless it is the last one's
	floorWait  = "floor, flock"         // waits in the kernel for whoever has the lock file open
	floorAsk   = "floor, ask and flock" // and asks for it, by making a file in a directory that is watched
	floorNames = "floor, ask and name"  // and gets a file of its own the name
	floorBound = "floor, as a locker"   // and does what tusd's interface asks for
)

const (
	stockHolderPoll   = 5 * time.Second
	stockAcquirerPoll = 2 * time.Second
)

// leavesRequest says of a peer that nobody removes its release request.
func leavesRequest(peer string) bool {
	return peer == floorAsk || peer == floorNames || peer == floorBound
}

// newLocker returns the locker of a peer for a directory.
func newLocker(peer, dir string) (handler.Locker, error) {
	switch peer {
	case ours:
		return filelocker.New(dir), nil
	case stock:
		return stocklocker.New(dir), nil
	case stockFast:
		return stocklocker.FileLocker{
			Path:                 dir,
			HolderPollInterval:   10 * time.Millisecond,
			AcquirerPollInterval: 10 * time.Millisecond,
		}, nil
	case memory:
		return memorylocker.New(), nil
	case floor, floorShort, floorLooks:
		return newFloor(dir, peer)
	case floorOpens:
		l, err := newFloor(dir, floor)
		return &folderFloor{floorLocker: l, parent: l.dir}, err
	case floorWait:
		return flockLocker{dir: dir}, nil
	case floorAsk:
		return flockLocker{dir: dir, asks: true}, nil
	case floorNames:
		return nameLocker{dir: dir}, nil
	case floorBound:
		return boundLocker{dir: dir}, nil
	}
	return nil, fmt.Errorf("there is no locker %q", peer)
}

// floorLocker makes the system calls that no locker can do without, and nothing else: no
// queue, no look at who holds, no release request.
type floorLocker struct {
	dir   int
	path  string
	stamp []byte
	whole bool // the file appears under its name whole and locked
	looks bool
}

func newFloor(dir, peer string) (floorLocker, error) {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return floorLocker{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return floorLocker{dir: fd, path: dir, stamp: exampleStamp(), whole: peer != floorShort, looks: peer == floorLooks}, nil
}

// exampleStamp is as long as what a lock file contains.
func exampleStamp() []byte {
	const length = 244
	s := strconv.Itoa(os.Getpid()) + "\n{"
	return []byte(s + strings.Repeat("x", length-len(s)-2) + "}\n")
}

// folderFloor opens an upload's folder as one must who does not keep a descriptor of each, and does not follow
// symlinks out of the directory. It is for one goroutine.
type folderFloor struct {
	floorLocker
	parent int
	open   string
	folder unix.Stat_t
}

func (l *folderFloor) NewLock(id string) (handler.Lock, error) {
	if folder := filepath.Dir(id); folder != l.open {
		if l.open != "" {
			unix.Close(l.dir)
		}
		l.open = ""
		fd, err := unix.Openat2(l.parent, folder, &unix.OpenHow{
			Flags:   unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			return nil, os.NewSyscallError("openat2", err)
		}
		l.dir, l.open = fd, folder
		if err := unix.Fstat(fd, &l.folder); err != nil {
			return nil, os.NewSyscallError("fstat", err)
		}
	}
	return l.floorLocker.NewLock(filepath.Base(id))
}

func (l floorLocker) NewLock(id string) (handler.Lock, error) {
	return &floorLock{floorLocker: l, id: id, name: id + ".lock"}, nil
}

type floorLock struct {
	floorLocker
	id, name string
	fd       int
	seen     unix.Stat_t
}

func (l *floorLock) Lock(context.Context, func()) error {
	if l.looks { // the directory is the one that is open
		if err := unix.Stat(l.path, &l.seen); err != nil {
			return os.NewSyscallError("stat", err)
		}
	}
	name := l.name
	if l.whole {
		name += "-new"
	}
	fd, err := unix.Openat(l.dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o664)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	l.fd = fd
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return os.NewSyscallError("flock", err)
	}
	if _, err := unix.Write(fd, l.stamp); err != nil {
		return os.NewSyscallError("write", err)
	}
	if l.looks { // which file it is
		if err := unix.Fstat(fd, &l.seen); err != nil {
			return os.NewSyscallError("fstat", err)
		}
	}
	if l.whole {
		if err := unix.Renameat2(l.dir, name, l.dir, l.name, unix.RENAME_NOREPLACE); err != nil {
			return os.NewSyscallError("renameat2", err)
		}
	}
	if l.looks { // nobody asks for it
		var none unix.Stat_t
		if err := unix.Fstatat(l.dir, l.id+".stop", &none, unix.AT_SYMLINK_NOFOLLOW); err != unix.ENOENT {
			return os.NewSyscallError("newfstatat", err)
		}
	}
	return nil
}

func (l *floorLock) Unlock() error {
	if l.looks { // the name still is that file's
		var at unix.Stat_t
		err := unix.Fstatat(l.dir, l.name, &at, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && at.Ino != l.seen.Ino {
			err = unix.ESTALE
		}
		if err != nil {
			return os.NewSyscallError("newfstatat", err)
		}
	}
	if err := unix.Unlinkat(l.dir, l.name, 0); err != nil {
		return os.NewSyscallError("unlinkat", err)
	}
	return os.NewSyscallError("close", unix.Close(l.fd))
}

// now is the system's monotonic clock in nanoseconds, the same in all processes.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}
