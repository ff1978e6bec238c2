//go:build !unix

package lockertest

import "errors"

func (p *peer) pause() error { return errors.ErrUnsupported }

func (p *peer) resume() error { return errors.ErrUnsupported }
