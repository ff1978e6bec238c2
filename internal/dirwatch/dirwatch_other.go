//go:build !linux

package dirwatch

import "errors"

func subscribe(uintptr, bool, func([]byte, bool) bool, func() bool) (kernelWatch, error) {
	return kernelWatch{}, errors.ErrUnsupported
}
