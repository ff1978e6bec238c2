//go:build !unix && !windows

package filelocker

import (
	"errors"
	"time"
)

func bootID() string       { return "" }
func pidNamespace() uint64 { return 0 }

func probePID(int) liveness { return unknown }

func processStart(int) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }
