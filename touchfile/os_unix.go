//go:build unix

package touchfile

import (
	"errors"
	"syscall"
)

// A FIFO under the name must not block. And a file that is opened so is not switched to and
// fro by package os, which saves four system calls.
const openFlag = syscall.O_NONBLOCK

// needsWriting tells the answer of file systems that lock for writing only what is open for
// it (flock(2), "NFS details").
func needsWriting(err error) bool { return errors.Is(err, syscall.EBADF) }
