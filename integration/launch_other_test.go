//go:build !linux

package integration_test

import (
	"errors"
	"os/exec"
)

func configure(*exec.Cmd, launch) {}

func enter([]string) error { return errors.ErrUnsupported }

func hogInotify() error { return errors.ErrUnsupported }
