package dirwatch_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/dirwatch"
)

// noneLeft has the kernel refuse an inotify instance with EMFILE, as it does when the user has as many
// as are allowed, until again is called. Nobody outside this process notices.
func noneLeft(t *testing.T) (again func()) {
	t.Helper()
	watch(t, t.TempDir(), dirwatch.Options{}, newEar().hear).Close() // what was logged before is over
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: limit.Max}))
	again = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(again)
	return again
}

// With no watch left to have, the ticker takes over and says so once.
func TestOutOfWatches(t *testing.T) {
	var log strings.Builder
	opts := dirwatch.Options{Interval: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	path := t.TempDir()
	dir := open(t, path)
	noneLeft(t)
	for range 2 {
		heard := newEar()
		w := watchOpen(t, dir, path, opts, heard.hear)
		require.True(t, w.Polls())
		heard.await(t, "*")
		w.Close()
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "ticker")
}

// Who found no watch left gets one when there is one again.
func TestWatchesLeftAgain(t *testing.T) {
	var log strings.Builder
	opts := dirwatch.Options{Interval: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	path, heard := t.TempDir(), newEar()
	dir := open(t, path)
	again := noneLeft(t)
	w := watchOpen(t, dir, path, opts, heard.hear)
	heard.await(t, "*")
	require.True(t, w.Polls())

	again()
	require.Eventually(t, func() bool { return !w.Polls() }, time.Minute, time.Millisecond)
	heard.await(t, "*") // what nobody has reported so far
	require.NoError(t, os.WriteFile(filepath.Join(path, "a"), nil, 0o600))
	heard.awaitOnly(t, "a")
	w.Close()
	require.Equal(t, 2, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "gives notice of changes again")
}
