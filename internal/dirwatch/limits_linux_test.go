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

// noLimitKnown has the process forget that an earlier test left it without reports, of which it would log the end.
func noLimitKnown(t *testing.T) {
	t.Helper()
	watch(t, t.TempDir(), dirwatch.Options{}, newEar().hear).Close()
}

// noneLeft has the kernel refuse an inotify instance with EMFILE, as it does when the user has as many
// as are allowed, until again is called. Nobody outside this process notices.
func noneLeft(t *testing.T) (again func()) {
	t.Helper()
	noLimitKnown(t)
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

// Where the kernel will not report any more about a directory that nobody had wanted to hear about for a
// while, as one that may not be read since, the ticker takes over until it does.
func TestNotToBeHeardAnyMore(t *testing.T) {
	noLimitKnown(t)
	var log strings.Builder
	opts := dirwatch.Options{Interval: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	path := t.TempDir()
	dir := int(open(t, path))
	m := watchNowAndThenOpen(t, uintptr(dir), path, opts)
	m.tire(t)
	kept, err := syscall.Dup(dir)
	require.NoError(t, err)
	defer syscall.Close(kept)
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()

	for began := time.Now(); !m.Polls(); { // the reports end some time after a change, when the reader has had its turn
		require.Less(t, time.Since(began), time.Minute, "the reports do not end")
		require.NoError(t, syscall.Dup3(kept, dir, syscall.O_CLOEXEC))
		m.touch(t, "noise")
		require.NoError(t, syscall.Dup3(int(file.Fd()), dir, syscall.O_CLOEXEC))
		m.wanted.Store(true)
		m.Listen()
		m.wanted.Store(false)
	}
	require.Negative(t, m.Descriptor())
	m.awaitOnly(t, "*")

	require.NoError(t, syscall.Dup3(kept, dir, syscall.O_CLOEXEC))
	require.Eventually(t, func() bool { return !m.Polls() }, time.Minute, time.Millisecond)
	m.touch(t, "a")
	m.awaitOnly(t, "a")
	m.Close()
	require.Equal(t, 2, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "ticker")
	require.Contains(t, log.String(), "gives notice of changes again")
}
