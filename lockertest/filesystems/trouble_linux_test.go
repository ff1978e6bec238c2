package filesystems_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

// attempt is what a Lock of an upload returns, and never waits for.
func attempt(t testing.TB, dir, id string) error {
	t.Helper()
	lock, err := filelocker.New(dir).NewLock(id)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), childtest.Patience)
	defer cancel()
	if err := lock.Lock(ctx, func() {}); err != nil {
		require.Error(t, lock.Unlock(), "Unlock after a Lock that has failed")
		return err
	}
	return lock.Unlock()
}

// mustFail requires that locks cannot be had, for a reason that says where, be they free or
// those of a dead process; that several in one process learn it; and that nothing changes.
func mustFail(t *testing.T, dir string, reason error) {
	t.Helper()
	var says string
	before := below(t, dir)
	for _, id := range []string{"free", "a"} {
		results := make(chan error, 4)
		for range cap(results) {
			go func() { results <- attempt(t, dir, id) }()
		}
		for range cap(results) {
			err := <-results
			require.ErrorIs(t, err, reason, id)
			require.ErrorContains(t, err, dir+"/", id)
			says = err.Error()
		}
		require.ElementsMatch(t, before, below(t, dir), "after Lock of %s", id)
	}
	t.Log(says)
}

// mustWork requires that locks can be had, and that nothing is left.
func mustWork(t *testing.T, dir string) {
	t.Helper()
	for _, id := range []string{"free", "a"} {
		require.NoError(t, attempt(t, dir, id), id)
	}
	require.Empty(t, below(t, dir))
}

// leaveLock leaves the lock of a killed process.
func leaveLock(t *testing.T, dir string) {
	t.Helper()
	p := childtest.Start(t, dir)
	p.Do("lock", "lock")
	p.Kill()
}

func onReadOnly(t *testing.T, r *row) {
	v := onImage("ext4", 8, "-q")(t)
	dir := makeDir(t, v.dir, "uploads")
	leaveLock(t, dir)
	run(t, "mount", "-o", "remount,ro", v.dir)
	mustFail(t, dir, unix.EROFS)
	run(t, "mount", "-o", "remount,rw", v.dir)
	mustWork(t, dir)
	r.Result = "Lock fails with EROFS, and says where; works again when it can be written"
}

func onFull(t *testing.T, r *row, v view, fill func(t *testing.T, dir string) (empty func())) {
	dir := makeDir(t, v.dir, "uploads")
	leaveLock(t, dir)
	held, err := filelocker.New(dir).NewLock("held")
	require.NoError(t, err)
	require.NoError(t, held.Lock(t.Context(), func() {}))

	empty := fill(t, makeDir(t, v.dir, "filler"))
	mustFail(t, dir, unix.ENOSPC)
	require.Contains(t, below(t, dir), "held.lock")
	require.NoError(t, held.Unlock(), "while there is no room")
	require.Equal(t, []string{"a.lock"}, below(t, dir))
	empty()
	mustWork(t, dir)
	r.Result = "Lock fails with ENOSPC, and says where; Unlock works; Lock works again when there is room"
}

// fillBlocks leaves no room for a single byte.
func fillBlocks(t *testing.T, dir string) (empty func()) {
	big, err := os.Create(filepath.Join(dir, "big"))
	require.NoError(t, err)
	defer big.Close()
	size := int64(0)
	for step := int64(64 << 20); step >= 4096; {
		switch err := unix.Fallocate(int(big.Fd()), 0, size, step); {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			require.NoError(t, err)
		}
	}
	return fillFiles(t, dir, []byte("x"))
}

// fillInodes leaves no room for a single file.
func fillInodes(t *testing.T, dir string) (empty func()) { return fillFiles(t, dir, nil) }

// fillFiles makes files until there is no room for one more, nor after it was all written out.
func fillFiles(t *testing.T, dir string, content []byte) (empty func()) {
	for n, more := 0, true; more; unix.Sync() {
		more = false
		for ; ; n++ {
			err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), content, 0o600)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			require.NoError(t, err)
			more = true
		}
	}
	return func() {
		require.NoError(t, os.RemoveAll(dir))
		// A child process between fork and exec has copies of what was open.
		probe := filepath.Join(filepath.Dir(dir), "probe")
		for over := time.Now().Add(childtest.Patience); ; time.Sleep(time.Millisecond) {
			err := os.WriteFile(probe, []byte("x"), 0o600)
			if !errors.Is(err, unix.ENOSPC) || time.Now().After(over) {
				require.NoError(t, err)
				break
			}
		}
		require.NoError(t, os.Remove(probe))
	}
}
