//go:build !linux

package dirwatch

import (
	"errors"
	"os"
)

func subscribe(*os.File, bool, func([]byte, bool) bool) (remove func(), err error) {
	return nil, errors.ErrUnsupported
}
