package flock_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
)

// hijacks are what strangers do to the lock file of a holder.
var hijacks = map[string]func(s store){
	"removed": func(s store) { require.NoError(s, os.Remove(s.path())) },
	"replaced": func(s store) {
		require.NoError(s, os.WriteFile(s.path()+".new", []byte("other's"), 0o600))
		require.NoError(s, os.Rename(s.path()+".new", s.path()))
	},
	"moved away": func(s store) {
		require.NoError(s, os.Rename(s.path(), s.path()+".old"))
		require.NoError(s, os.WriteFile(s.path(), []byte("other's"), 0o600))
	},
	"replaced by a directory": func(s store) {
		require.NoError(s, os.Remove(s.path()))
		require.NoError(s, os.Mkdir(s.path(), 0o700))
	},
}

func TestHijackSeenByUnlock(t *testing.T) {
	for name, hijack := range hijacks {
		t.Run(name, func(t *testing.T) {
			s, log := setUp(t), newJournal()
			unlock := s.lock(flock.WithLogger(bg(), slog.New(log)))
			hijack(s)
			before, _ := os.Lstat(s.path())
			err := unlock()
			require.ErrorIs(t, err, flock.ErrUnlockUnsuccessful)
			require.Equal(t, err, unlock())
			require.Equal(t, []string{"lock was lost"}, log.all())
			after, _ := os.Lstat(s.path())
			require.Equal(t, before, after, "the other's file is left alone")
		})
	}
}

func TestHijackSeenByHeartbeat(t *testing.T) {
	for name, hijack := range hijacks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, log := setUp(t), newJournal()
				ctx, cancel := context.WithCancel(flock.WithLogger(bg(), slog.New(log)))
				unlock := s.lock(ctx)
				cancel()
				away := filepath.Join(s.root.Name(), "away")
				require.NoError(t, os.Link(s.path(), away))
				hijack(s)
				before, _ := os.Lstat(s.path())
				time.Sleep(flock.HeartbeatInterval)
				synctest.Wait()
				require.Equal(t, []string{"lock was lost"}, log.all())

				// Its coming back makes no difference, and nothing is logged twice.
				if name == "removed" {
					require.NoError(t, os.Rename(away, s.path()))
				} else {
					after, _ := os.Lstat(s.path())
					require.Equal(t, before, after)
				}
				time.Sleep(5 * flock.HeartbeatInterval)
				require.ErrorIs(t, unlock(), flock.ErrUnlockUnsuccessful)
				require.Len(t, log.all(), 1)
			})
		})
	}
}

// When the name cannot be looked at, the lock is kept and the trouble told.
func TestHeartbeatWithClosedRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := setUp(t), newJournal()
		unlock := s.lock(flock.WithLogger(bg(), slog.New(log)))
		require.NoError(t, s.root.Close())
		long := time.Unix(1_000_000_000, 0)
		for range 2 {
			s.setTime(long)
			time.Sleep(flock.HeartbeatInterval)
			synctest.Wait()
			info, err := os.Lstat(s.path())
			require.NoError(t, err)
			require.NotEqual(t, long, info.ModTime())
		}
		const message = "lock file could not be refreshed"
		require.Equal(t, []string{message, message}, log.all())
		require.ErrorIs(t, unlock(), flock.ErrUnlockUnsuccessful)
	})
}

// blocking is a logger's handler that says when it is called and returns when it may.
type blocking struct {
	slog.Handler
	called, may chan struct{}
}

func (b blocking) Enabled(context.Context, slog.Level) bool { return true }

func (b blocking) Handle(context.Context, slog.Record) error {
	close(b.called)
	<-b.may
	return nil
}

// UnlockFunc returns to nobody before a heartbeat that is under way has ended.
func TestUnlockWaitsForHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setUp(t)
		b := blocking{slog.DiscardHandler, make(chan struct{}), make(chan struct{})}
		unlock := s.lock(flock.WithLogger(bg(), slog.New(b)))
		require.NoError(t, os.Remove(s.path()))
		<-b.called
		returned := make(chan error, 2)
		for range 2 {
			go func() { returned <- unlock() }()
		}
		for range 1000 { // waiting for a mutex does not let the bubble's time go on
			runtime.Gosched()
		}
		require.Empty(t, returned)
		close(b.may)
		for range 2 {
			require.ErrorIs(t, <-returned, flock.ErrUnlockUnsuccessful)
		}
	})
}

// An unlocking that comes in the moment in which a heartbeat is due ends it as any other does.
func TestUnlockBesideHeartbeat(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			s := setUp(t)
			unlock := s.lock(bg())
			time.Sleep(flock.HeartbeatInterval)
			returned := make(chan error, 1)
			go func() { returned <- unlock() }()
			select {
			case err := <-returned:
				require.NoError(t, err)
			case <-time.After(flock.HeartbeatInterval / 2):
				require.FailNow(t, "the heartbeat goes on")
			}
		})
	}
}

func TestSilentWithoutLogger(t *testing.T) {
	log := newJournal()
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(log))
	for _, ctx := range []context.Context{bg(), flock.WithLogger(bg(), nil)} {
		s := setUp(t)
		unlock := s.lock(ctx)
		require.NoError(t, os.Remove(s.path()))
		require.Error(t, unlock())
	}
	require.Empty(t, log.all())
}
