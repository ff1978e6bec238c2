//go:build unix

package filelocker

import (
	"errors"

	"golang.org/x/sys/unix"
)

// probePID sends no signal, it asks whether one could be sent (kill(2)). EPERM means that
// the process is there and somebody else's.
func probePID(pid int) liveness {
	err := unix.Kill(pid, 0)
	switch {
	case err == nil, errors.Is(err, unix.EPERM):
		return alive
	case errors.Is(err, unix.ESRCH):
		return dead
	}
	return unknown
}
