package flock_test

import (
	"os/exec"
	"syscall"
)

// ownGroup lets a test end what the process started as well.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func threadID() int { return syscall.Gettid() }
