package flock_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// A stale file that nobody has locked is taken as it is.
func TestStaleFreeFile(t *testing.T) {
	for name, lock := range map[string]func(store, context.Context) flock.UnlockFunc{"exclusive": store.lock, "shared": store.rlock} {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			s.free()
			before := s.stat()
			s.age()
			unlock := lock(s, bg())
			require.True(t, os.SameFile(before, s.stat()))
			require.WithinDuration(t, time.Now(), s.stat().ModTime(), flock.StaleAfter)
			require.NoError(t, unlock())
		})
	}
}

// A stale file that a frozen holder has locked is replaced, and the holder finds out.
func TestStaleHeldFile(t *testing.T) {
	for name, hold := range map[string]func(store, context.Context) flock.UnlockFunc{"exclusive": store.lock, "shared": store.rlock} {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			frozen := hold(s, bg())
			before := s.stat()
			s.age()
			unlock := s.lock(bg())
			require.False(t, os.SameFile(before, s.stat()))
			require.Equal(t, os.FileMode(0o600), s.stat().Mode())
			s.held()
			require.ErrorIs(t, frozen(), flock.ErrUnlockUnsuccessful)
			s.held()
			require.NoError(t, unlock())
			s.free()
		})
	}
	t.Run("by a reader", func(t *testing.T) {
		s := setUp(t)
		frozen := s.lock(bg())
		s.age()
		unlock := s.rlock(bg())
		require.ErrorIs(t, frozen(), flock.ErrUnlockUnsuccessful)
		s.held()
		require.NoError(t, unlock())
	})
}

func TestNotYetStale(t *testing.T) {
	s := setUp(t)
	defer s.lock(bg())()
	before := s.stat()
	s.setTime(time.Now().Add(-flock.StaleAfter + 10*time.Second))
	s.held()
	ctx, cancel := context.WithTimeout(bg(), 50*time.Millisecond)
	defer cancel()
	s.mustFail(flock.TryLock(ctx, s.root))
	require.True(t, os.SameFile(before, s.stat()))
}

// After the context has ended nothing is recovered, held or not.
func TestCancelledContextNeverRecovers(t *testing.T) {
	s := setUp(t)
	unlock := s.lock(bg())
	s.age()
	before := s.stat()
	for range 10 {
		s.held()
		require.ErrorIs(t, s.mustFail(flock.TryRLock(done(), s.root)), context.Canceled)
	}
	require.Equal(t, before, s.stat())
	require.NoError(t, unlock())
	for range 10 {
		require.ErrorIs(t, s.mustFail(flock.TryLock(done(), s.root)), context.Canceled)
		require.ErrorIs(t, s.mustFail(flock.TryRLock(done(), s.root)), context.Canceled)
	}
	require.Equal(t, before, s.stat())
}

// recovering has the test be the one who recovers, as far as others can see.
func (s store) recovering() (end func()) {
	s.Helper()
	dir, err := os.Open(s.root.Name())
	require.NoError(s, err)
	require.NoError(s, filelock.TryLock(dir.Fd()))
	return func() {
		require.NoError(s, filelock.Unlock(dir.Fd()))
		require.NoError(s, dir.Close())
	}
}

// Beside a recovery nobody takes a file that it may be about to remove: not a stale one, and
// not one that its mark says has been stale before it was refreshed.
func TestBesideRecovery(t *testing.T) {
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(bg(), 30*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	s := setUp(t)
	s.free()
	end := s.recovering()
	s.free() // a fresh one is nobody's business
	before := s.stat()

	s.age()
	s.mustFail(flock.TryLock(short(), s.root))
	s.mustFail(flock.TryRLock(short(), s.root))
	s.setTime(time.Now())
	s.free()

	require.NoError(t, os.Chmod(s.path(), 0o700))
	s.mustFail(flock.TryLock(short(), s.root))
	s.mustFail(flock.TryRLock(short(), s.root))
	end()

	// A mark that a killed process left is removed.
	require.NoError(t, s.lock(bg())())
	require.True(t, os.SameFile(before, s.stat()))
	require.Equal(t, os.FileMode(0o600), s.stat().Mode())
}

// moody is a context that ends when something has happened.
type moody struct {
	context.Context
	happened func() bool
	ended    chan struct{}
}

func (m *moody) Done() <-chan struct{} { return m.ended }

func (m *moody) Err() error {
	select {
	case <-m.ended:
	default:
		if !m.happened() {
			return nil
		}
		close(m.ended)
	}
	return context.Canceled
}

// A context that ends in the middle of a recovery ends that one too, before anything is
// removed or taken.
func TestCancelledInRecovery(t *testing.T) {
	s := setUp(t)
	marked := func() bool { return s.stat().Mode()&0o100 != 0 }
	recovering := func() bool {
		dir, err := os.Open(s.root.Name())
		require.NoError(t, err)
		defer dir.Close()
		err = filelock.TryLock(dir.Fd())
		return errors.Is(err, filelock.ErrBusy)
	}
	for name, test := range map[string]struct {
		happened func() bool
		held     bool
	}{
		"held file, while it is marked": {marked, true},
		"held file, with recovery lock": {recovering, true},
		"free file, with recovery lock": {recovering, false},
	} {
		t.Run(name, func(t *testing.T) {
			unlock := s.lock(bg())
			if !test.held {
				require.NoError(t, unlock())
			}
			s.age()
			before := s.stat()
			for _, lock := range []func(context.Context, *os.Root) (flock.UnlockFunc, error){flock.TryLock, flock.TryRLock} {
				ctx := &moody{bg(), test.happened, make(chan struct{})}
				require.ErrorIs(t, s.mustFail(lock(ctx, s.root)), context.Canceled)
			}
			// The mode was set and set back, which changes the time of that.
			require.True(t, os.SameFile(before, s.stat()))
			require.Equal(t, before.ModTime(), s.stat().ModTime())
			require.Equal(t, before.Mode(), s.stat().Mode())
			require.NoError(t, unlock())
		})
	}
}

// A process that stands still in the middle of a recovery or a creation holds up others, who
// say so. Those who find a fresh file it does not concern.
func TestHeldUp(t *testing.T) {
	for name, prepare := range map[string]func(store){
		"creation": func(s store) {},
		"recovery": func(s store) { s.free(); s.age() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // or the context could end within a try
				s := setUp(t)
				prepare(s)
				end := s.recovering()
				for _, lock := range []func(context.Context, *os.Root) (flock.UnlockFunc, error){flock.TryLock, flock.TryRLock} {
					ctx, cancel := context.WithTimeout(bg(), 25*time.Millisecond)
					defer cancel()
					err := s.mustFail(lock(ctx, s.root))
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.ErrorContains(t, err, s.path()+": being created or recovered: ")
				}
				end()
				require.NoError(t, s.lock(bg())())
			})
		})
	}
}

// Whoever takes a file refreshes it, however old it is. The time of a file that is fresh may
// stay.
func TestTakingRefreshes(t *testing.T) {
	for name, lock := range map[string]func(store, context.Context) flock.UnlockFunc{"exclusive": store.lock, "shared": store.rlock} {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			s.free()
			for _, age := range []time.Duration{time.Second, 20 * time.Second, flock.StaleAfter + time.Second, -time.Hour} {
				then := time.Now().Add(-age)
				s.setTime(then)
				unlock := lock(s, bg())
				require.NotEqual(t, then.Unix(), s.stat().ModTime().Unix(), age)
				require.NoError(t, unlock())
			}
		})
	}
}
