//go:build unix

package lockertest

import "syscall"

// pause stops the process until resume, as suspending a machine would. It is stopped when
// pause returns, as far as anybody can tell: the kernel runs no more of its code.
func (p *peer) pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *peer) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
