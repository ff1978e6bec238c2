//go:build !linux

package dirwatch

import "errors"

func subscribe(uintptr, bool, func([]byte, bool) bool, func() bool) (remove, listen func(), err error) {
	return nil, nil, errors.ErrUnsupported
}
