package lockertest_test

import (
	"crypto/sha256"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func open(name string) *os.File {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	return f
}

func setLock(f *os.File, kind int16) bool {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind}) == nil
}

// free closes f, which is unlocked first: a child process that another test has just forked has a copy
// of it until its exec, and with that the lock.
func free(f *os.File) {
	setLock(f, unix.F_UNLCK)
	f.Close()
}

// live says whether somebody has the file locked. It locks nothing itself.
func live(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

func size(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

func grow(name string) {
	f := open(name)
	defer f.Close()
	_, _ = f.WriteAt([]byte{0}, size(name))
}

// hashed is a file name for any ID.
func hashed(id string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(id)))[:32] }
