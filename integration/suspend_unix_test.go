//go:build unix

package integration_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const canSuspend = true

// suspend stops the process, and returns when it stands still.
func (p *process) suspend(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		require.NoError(t, err)
		require.True(t, status.Stopped(), "%s: %v", p.name, status)
		return
	}
}

// proceed lets a suspended process go on.
func (p *process) proceed(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGCONT)
}
