//go:build !linux

package dirwatch

import (
	"errors"
	"os"
)

func subscribe(*os.File, bool, func([]byte, bool) bool, func() bool) (remove, listen func(), err error) {
	return nil, nil, errors.ErrUnsupported
}
