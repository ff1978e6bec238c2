package filelock_test

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) {
	childtest.Main(hold)
	os.Exit(leaktest.Main(m))
}

// hold is the child, which locks path when it is told to, and holds until it ends.
func hold(path string, orders iter.Seq[string]) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	for range orders {
		fmt.Println(filelock.TryLock(f.Fd()))
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a, b := open(t, path), open(t, path)
	require.NoError(t, filelock.TryLock(a.Fd()))
	require.ErrorIs(t, filelock.TryLock(b.Fd()), filelock.ErrBusy)
	require.ErrorIs(t, filelock.TryRLock(b.Fd()), filelock.ErrBusy)
	require.NoError(t, filelock.Unlock(a.Fd()))
	require.NoError(t, filelock.TryLock(b.Fd()))
}

func TestShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a, b, c := open(t, path), open(t, path), open(t, path)
	require.NoError(t, filelock.TryRLock(a.Fd()))
	require.NoError(t, filelock.TryRLock(b.Fd()))
	require.ErrorIs(t, filelock.TryLock(c.Fd()), filelock.ErrBusy)
	require.ErrorIs(t, filelock.TryLock(a.Fd()), filelock.ErrBusy, "conversion while another reads")
	require.NoError(t, filelock.Unlock(b.Fd()))
	require.NoError(t, filelock.TryLock(a.Fd()), "conversion of the last reader")
	require.ErrorIs(t, filelock.TryRLock(b.Fd()), filelock.ErrBusy)
}

func TestContentStaysReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a := open(t, path)
	_, err := a.WriteString("123\n")
	require.NoError(t, err)
	require.NoError(t, filelock.TryLock(a.Fd()))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "123\n", string(b))
}

func TestDeathFreesTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	mine := open(t, path)
	child := childtest.Start(t, path)
	child.Do("lock", "<nil>")
	require.ErrorIs(t, filelock.TryLock(mine.Fd()), filelock.ErrBusy)
	child.Kill()
	require.NoError(t, filelock.TryLock(mine.Fd()))
}

// A child that was started while the lock was held must not keep it.
func TestNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	mine, other := open(t, path), open(t, path)
	require.NoError(t, filelock.TryLock(mine.Fd()))
	child := exec.Command("cat")
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	require.NoError(t, mine.Close())
	require.NoError(t, filelock.TryLock(other.Fd()), "the child is running and the holder has closed its file")
	require.NoError(t, stdin.Close())
	require.NoError(t, child.Wait())
}

func TestBadDescriptor(t *testing.T) {
	err := filelock.TryLock(^uintptr(0))
	require.Error(t, err)
	require.False(t, errors.Is(err, filelock.ErrBusy))
	require.False(t, errors.Is(err, errors.ErrUnsupported))
}
