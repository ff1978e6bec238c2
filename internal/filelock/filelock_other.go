//go:build !darwin && !dragonfly && !freebsd && !illumos && !linux && !netbsd && !openbsd && !windows

package filelock

import (
	"errors"
	"fmt"
	"runtime"
)

func tryLock(uintptr) error  { return unsupported() }
func tryRLock(uintptr) error { return unsupported() }
func unlock(uintptr) error   { return unsupported() }

func unsupported() error {
	return fmt.Errorf("file lock on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
