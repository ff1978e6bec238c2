//go:build unix && !linux && !darwin

package filelocker

import (
	"time"

	"golang.org/x/sys/unix"
)

func openBeneath(int, string) (int, error) { return 0, unix.ENOSYS }

func (f file) above(int) file { return f }

func nap() { time.Sleep(50 * time.Microsecond) }

func forgets(*handle) bool { return false }

// renameNew leaves it to link, which is as atomic and needs one call more.
func renameNew(int, string, string) error { return unix.ENOSYS }

func exchange(int, string, string) error { return unix.ENOSYS }

func touch(fd int) error {
	now := unix.NsecToTimeval(time.Now().UnixNano())
	return unix.Futimes(fd, []unix.Timeval{now, now})
}
