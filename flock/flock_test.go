package flock_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
)

func TestExclusive(t *testing.T) {
	s := setUp(t)
	unlock := s.lock(bg())
	s.held()
	s.mustFail(flock.TryRLock(done(), s.root))
	require.NoError(t, unlock())
	s.free()
}

func TestShared(t *testing.T) {
	s := setUp(t)
	first, second := s.rlock(bg()), s.rlock(bg())
	s.held()
	require.NoError(t, first())
	s.held()
	require.NoError(t, second())
	s.free()
}

func TestFile(t *testing.T) {
	s := setUp(t)
	unlock := s.lock(bg())
	info := s.stat()
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.NoError(t, unlock())
	require.True(t, os.SameFile(info, s.stat()), "the file stays")
	s.free()
	require.True(t, os.SameFile(info, s.stat()), "and is used again")
	require.Zero(t, s.stat().Size())
	entries, err := os.ReadDir(s.root.Name())
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestTexts(t *testing.T) {
	require.EqualError(t, flock.ErrLockUnsuccessful, "store is locked")
	require.EqualError(t, flock.ErrUnlockUnsuccessful, "could not unlock store")
}

func TestContextEnds(t *testing.T) {
	s := setUp(t)
	defer s.lock(bg())()
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(bg(), 5*time.Millisecond)
		defer cancel()
		err := s.mustFail(flock.TryLock(ctx, s.root))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "store is locked: "+s.path()+": ")
	})
	t.Run("cause", func(t *testing.T) {
		why := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(bg())
		time.AfterFunc(5*time.Millisecond, func() { cancel(why) })
		err := s.mustFail(flock.TryRLock(ctx, s.root))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
	})
	t.Run("cause that is the context's error", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(bg())
		cancel(fmt.Errorf("shutting down: %w", context.Canceled))
		err := s.mustFail(flock.TryLock(ctx, s.root))
		require.EqualError(t, err, "store is locked: "+s.path()+": file is locked: shutting down: context canceled")
	})
	t.Run("cause of a deadline", func(t *testing.T) {
		why := errors.New("too slow")
		ctx, cancel := context.WithTimeoutCause(bg(), 0, why)
		defer cancel()
		err := s.mustFail(flock.TryLock(ctx, s.root))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, why)
	})
}

// Without a context there is a panic at once, not in the heartbeat.
func TestNilContext(t *testing.T) {
	s := setUp(t)
	var ctx context.Context
	require.Panics(t, func() { _, _ = flock.TryLock(ctx, s.root) })
	s.free()
}

// A context that has ended is no reason not to try, only not to wait.
func TestOneTry(t *testing.T) {
	s := setUp(t)
	require.NoError(t, s.lock(done())())
	require.NoError(t, s.rlock(done())())
}

func TestPauses(t *testing.T) {
	for _, c := range []struct{ freeAfter, want time.Duration }{
		{5, 10}, {11, 30}, {31, 70}, {71, 150}, {151, 250}, {251, 350}, {9_951, 10_050},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := setUp(t)
			unlock := s.lock(bg())
			begin := time.Now()
			time.AfterFunc(c.freeAfter*time.Millisecond, func() { _ = unlock() })
			require.NoError(t, s.lock(bg())())
			require.Equal(t, c.want*time.Millisecond, time.Since(begin))
		})
	}
}

func TestPermanentErrors(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T, path string) error
		want    error
		text    string
	}{
		"directory": {
			func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, nil, "directory"},
		"symlink to nowhere": {
			func(_ *testing.T, path string) error { return os.Symlink("nowhere", path) }, nil, "not a regular file"},
		"symlink to a file": {
			func(_ *testing.T, path string) error {
				other := filepath.Join(filepath.Dir(path), "other")
				return errors.Join(os.WriteFile(other, nil, 0o600), os.Symlink("other", path))
			}, nil, "not a regular file"},
		"symlink out of the root": {
			func(t *testing.T, path string) error {
				other := filepath.Join(t.TempDir(), "other")
				return errors.Join(os.WriteFile(other, nil, 0o600), os.Symlink(other, path))
			}, nil, "escapes"},
		"no directory": {
			func(_ *testing.T, path string) error { return os.Remove(filepath.Dir(path)) }, fs.ErrNotExist, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			require.NoError(t, test.prepare(t, s.path()))
			for _, lock := range []func(context.Context, *os.Root) (flock.UnlockFunc, error){flock.TryLock, flock.TryRLock} {
				err := s.mustFail(lock(bg(), s.root))
				require.ErrorContains(t, err, test.text)
				require.ErrorContains(t, err, s.path())
				if test.want != nil {
					require.ErrorIs(t, err, test.want)
				}
			}
			_, err := os.Lstat(filepath.Join(s.root.Name(), "nowhere"))
			require.Error(t, err)
		})
	}
}

func TestClosedRoot(t *testing.T) {
	s := setUp(t)
	unlock := s.lock(bg())
	require.NoError(t, s.root.Close())
	err := unlock()
	require.ErrorIs(t, err, flock.ErrUnlockUnsuccessful)
	require.ErrorIs(t, err, fs.ErrClosed)
	s.root, err = os.OpenRoot(s.root.Name())
	require.NoError(t, err)
	defer s.root.Close()
	s.free()
}

func TestUnlockIsIdempotent(t *testing.T) {
	s := setUp(t)
	good, bad := s.lock(bg()), flock.UnlockFunc(nil)
	for range 20 {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				require.NoError(t, good())
				if bad != nil {
					require.ErrorIs(t, bad(), flock.ErrUnlockUnsuccessful)
				}
			})
		}
		wg.Wait()
		bad = s.lock(bg())
		require.NoError(t, os.Remove(s.path()))
		require.Error(t, bad())
		good = s.lock(bg())
	}
	other := good
	require.NoError(t, good())
	unlock := s.lock(bg())
	require.NoError(t, other(), "a second call does not touch the next holder's lock")
	s.held()
	require.NoError(t, unlock())
}

func TestHeartbeat(t *testing.T) {
	for name, lock := range map[string]func(store, context.Context) flock.UnlockFunc{"exclusive": store.lock, "shared": store.rlock} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setUp(t)
				ctx, cancel := context.WithCancel(bg())
				unlock := lock(s, ctx)
				cancel()
				long := time.Unix(1_000_000_000, 0)
				for range 5 {
					s.setTime(long)
					time.Sleep(flock.HeartbeatInterval - time.Nanosecond)
					synctest.Wait()
					require.Equal(t, long, s.stat().ModTime())
					time.Sleep(time.Nanosecond)
					synctest.Wait()
					require.NotEqual(t, long, s.stat().ModTime())
				}
				require.NoError(t, unlock())
				s.setTime(long)
				time.Sleep(10 * flock.HeartbeatInterval)
				require.Equal(t, long, s.stat().ModTime())
			})
		})
	}
}
