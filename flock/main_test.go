package flock_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) {
	childtest.Main(actor)
	os.Exit(leaktest.Main(m))
}

// store is the directory of one test.
type store struct {
	testing.TB
	root *os.Root
}

func setUp(t testing.TB) store {
	leaktest.Check(t)
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return store{t, root}
}

func (s store) path() string { return filepath.Join(s.root.Name(), flock.LockFile) }

func (s store) lock(ctx context.Context) flock.UnlockFunc {
	s.Helper()
	unlock, err := flock.TryLock(ctx, s.root)
	require.NoError(s, err)
	return unlock
}

func (s store) rlock(ctx context.Context) flock.UnlockFunc {
	s.Helper()
	unlock, err := flock.TryRLock(ctx, s.root)
	require.NoError(s, err)
	return unlock
}

// mustFail requires that nothing was taken, and returns the error.
func (s store) mustFail(unlock flock.UnlockFunc, err error) error {
	s.Helper()
	require.ErrorIs(s, err, flock.ErrLockUnsuccessful)
	require.Nil(s, unlock)
	return err
}

// free requires that nobody has the lock.
func (s store) free() {
	s.Helper()
	require.NoError(s, s.lock(done())())
}

// held requires that somebody has the lock.
func (s store) held() {
	s.Helper()
	require.ErrorIs(s, s.mustFail(flock.TryLock(done(), s.root)), context.Canceled)
}

// age makes the lock file as old as that of a holder that was frozen for long.
func (s store) age() { s.setTime(time.Now().Add(-time.Hour)) }

func (s store) setTime(to time.Time) {
	s.Helper()
	require.NoError(s, os.Chtimes(s.path(), to, to))
}

func (s store) stat() os.FileInfo {
	s.Helper()
	info, err := s.root.Lstat(flock.LockFile)
	require.NoError(s, err)
	return info
}

// done is a context that has ended.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func bg() context.Context { return context.Background() }

// journal is a logger's handler that keeps the messages.
type journal struct {
	slog.Handler
	mu       sync.Mutex
	messages []string
}

func newJournal() *journal { return &journal{Handler: slog.DiscardHandler} }

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }

func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	if ctx.Err() != nil { // a handler may need time
		return ctx.Err()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.messages = append(j.messages, r.Message)
	return nil
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.messages
}
