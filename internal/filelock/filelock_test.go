package filelock_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

const childEnv = "FILELOCK_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		hold(path)
		return
	}
	os.Exit(leaktest.Main(m))
}

// hold is the child: it locks path, says so, and holds until its standard input ends.
func hold(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = filelock.TryLock(f.Fd())
	}
	fmt.Println(err)
	_, _ = io.Copy(io.Discard, os.Stdin)
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
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+path)
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)

	require.ErrorIs(t, filelock.TryLock(mine.Fd()), filelock.ErrBusy)
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
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
