package flock

import (
	"io/fs"
	"time"

	"golang.org/x/sys/windows"
)

const openFlag = 0

func touch(fd uintptr) error {
	now := windows.NsecToFiletime(time.Now().UnixNano())
	return windows.SetFileTime(windows.Handle(fd), nil, nil, &now)
}

// tryLockDir: LockFileEx knows files only.
func tryLockDir(uintptr) error { return errNoDirLock }

// ownClock is never sure here.
func ownClock(fs.FileInfo) bool { return false }
