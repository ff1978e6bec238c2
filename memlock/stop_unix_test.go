//go:build unix

package memlock_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

// The real memcached, stopped as a debugger would, gives the lock to another only after the
// function was told.
func TestStoppedMemcached(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 16 s")
	}
	t.Parallel()
	m := startMemcached(t)
	c := m.client(t)
	ctx := memlock.NewContext(t.Context(), c)
	t.Cleanup(func() { _ = m.process.Signal(syscall.SIGCONT) })
	err := memlock.TryWithLock(ctx, key, "a", func(inner context.Context) error {
		refreshed(t, c)
		require.NoError(t, m.process.Signal(syscall.SIGSTOP))
		wait(t, inner)
		require.ErrorIs(t, context.Cause(inner), memlock.ErrLockLost)
		require.NoError(t, m.process.Signal(syscall.SIGCONT))
		require.Error(t, memlock.TryWithLock(ctx, key, "b", nothing), "another has the lock already")
		return nil
	})
	require.ErrorIs(t, err, memlock.ErrLockLost)
}
