//go:build unix && !linux

package filelocker

import (
	"errors"
	"time"
)

func bootID() string       { return "" }
func pidNamespace() uint64 { return 0 }

// processStart is not known here: a recycled PID counts as alive.
func processStart(int) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }
