package filelocker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// journal keeps what a locker logs.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) entry(message string) map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["msg"] == message {
			return e
		}
	}
	return nil
}

// mustTell waits for an entry: some are written in the background.
func (j *journal) mustTell(t *testing.T, level, message string, attrs map[string]any) {
	t.Helper()
	require.Eventually(t, func() bool { return j.entry(message) != nil }, time.Minute, time.Millisecond, message)
	e := j.entry(message)
	require.Equal(t, level, e["level"], message)
	for key, want := range attrs {
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(e[key]), "%s: %s", message, key)
	}
}

func logging(t *testing.T) (filelocker.FileLocker, *journal) {
	t.Helper()
	j := new(journal)
	l := filelocker.New(t.TempDir())
	l.Logger = slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return l, j
}

func TestLogsWhyATakeoverWasAllowed(t *testing.T) {
	l, j := logging(t)
	pid, file := deadPID(t), filepath.Join(l.Path, "x.lock")
	require.NoError(t, os.WriteFile(file, fmt.Appendln(nil, pid), 0o600))
	lock := newLock(t, l, "x")
	require.NoError(t, lock.Lock(t.Context(), nothing))
	require.NoError(t, lock.Unlock())
	j.mustTell(t, "INFO", "lock taken over from a dead holder", map[string]any{
		"id": "x", "file": file, "holder": "dead", "pid": pid, "why": fmt.Sprintf("process %d is not there", pid)})
}

func TestLogsWhoIsWaitedFor(t *testing.T) {
	l, j := logging(t)
	pid, file := os.Getppid(), filepath.Join(l.Path, "x.lock")
	require.NoError(t, os.WriteFile(file, fmt.Appendln(nil, pid), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, error(handler.ErrLockTimeout), newLock(t, l, "x").Lock(ctx, nothing))
	holder := map[string]any{"id": "x", "file": file, "holder": "alive", "pid": pid, "why": fmt.Sprintf("process %d is there", pid)}
	j.mustTell(t, "DEBUG", "waiting for a lock", holder)
	j.mustTell(t, "WARN", "timed out waiting for a lock", holder)
}

func TestLogsWhoHoldsInThisProcess(t *testing.T) {
	l, j := logging(t)
	holder := newLock(t, l, "x")
	require.NoError(t, holder.Lock(t.Context(), nothing))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, error(handler.ErrLockTimeout), newLock(t, l, "x").Lock(ctx, nothing))
	j.mustTell(t, "WARN", "timed out waiting for a lock of this process", map[string]any{"id": "x", "pid": os.Getpid()})
	since, err := time.Parse(time.RFC3339Nano, fmt.Sprint(j.entry("timed out waiting for a lock of this process")["since"]))
	require.NoError(t, err)
	require.Less(t, time.Since(since), time.Hour)
	require.NoError(t, holder.Unlock())
}

// tusd ignores what Unlock returns, so the log is where an operator sees it.
func TestLogsFailuresToUnlock(t *testing.T) {
	l, j := logging(t)
	lock, told := newLock(t, l, "x"), make(chan struct{})
	require.NoError(t, lock.Lock(t.Context(), func() { close(told) }))
	file := filepath.Join(l.Path, "x.lock")
	require.NoError(t, os.Remove(file))
	<-told
	j.mustTell(t, "WARN", "lock lost: its file was removed or replaced", map[string]any{"file": file})
	require.ErrorIs(t, lock.Unlock(), filelocker.ErrLockLost)
	j.mustTell(t, "ERROR", "unlock failed", map[string]any{"id": "x"})
	require.Contains(t, fmt.Sprint(j.entry("unlock failed")["cause"]), file)

	l, j = logging(t)
	require.ErrorIs(t, newLock(t, l, "x").Unlock(), filelocker.ErrNotHeld)
	j.mustTell(t, "ERROR", "unlock failed", map[string]any{"id": "x"})
}
