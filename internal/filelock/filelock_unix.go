//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

func tryLock(fd uintptr) error  { return flock(fd, unix.LOCK_EX|unix.LOCK_NB) }
func tryRLock(fd uintptr) error { return flock(fd, unix.LOCK_SH|unix.LOCK_NB) }
func unlock(fd uintptr) error   { return flock(fd, unix.LOCK_UN) }

func flock(fd uintptr, how int) error {
	for {
		err := unix.Flock(int(fd), how)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrBusy
		// ENOLCK is what an NFSv3 mount without lockd answers; Lustre without -o flock says ENOSYS.
		case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOLCK):
			return fmt.Errorf("flock: %w: %w", errors.ErrUnsupported, err)
		default:
			return fmt.Errorf("flock: %w", err)
		}
	}
}
