package touchfile_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

// A process that a holder has started does not keep the lock after the holder's unlock or end.
func TestNotInherited(t *testing.T) {
	tf := setUp(t)
	holder := start(t, tf.Path())
	holder.Do("lock", "locked")
	holder.Do("spawn", "spawned")
	holder.Do("unlock", "unlocked")
	mustBeFree(t, tf)
	holder.Do("lock", "locked")
	holder.Do("spawn", "spawned")
	holder.Kill()
	mustBeFree(t, tf)
}

// A child between fork and exec has a copy of every descriptor. It must not keep a lock that
// was given up in that moment, so here each first try must do.
func TestUnlockBesideForks(t *testing.T) {
	tf := setUp(t)
	childtest.Forks(t)
	f, err := os.OpenFile(tf.Path(), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	busy := 0
	for range 20_000 {
		require.NoError(t, tf.ExclusiveLock(bg()))
		require.NoError(t, tf.Unlock())
		if filelock.TryLock(f.Fd()) != nil {
			busy++
		}
		require.NoError(t, filelock.Unlock(f.Fd()))
	}
	require.Zero(t, busy)
}

// The running program cannot be opened for writing, and a program that is open for writing
// cannot be run.
func TestProgram(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	_, err = os.OpenFile(exe, os.O_RDWR, 0)
	require.Error(t, err, "ETXTBSY, or no permission if it is another user's")
	self := at(t, exe)
	other := start(t, exe)
	require.NoError(t, self.ExclusiveLock(bg()))
	other.Do("try", "lock "+exe+": context deadline exceeded")
	require.NoError(t, self.Unlock())
	other.Do("lock", "locked")
	mustBlock(t, self, touchfile.Shared)
	other.Kill()

	code, err := os.ReadFile("/bin/true")
	require.NoError(t, err)
	tf := setUp(t)
	require.NoError(t, os.WriteFile(tf.Path(), code, 0o700))
	require.NoError(t, tf.WithLock(bg(), touchfile.Exclusive, func() error {
		return exec.Command(tf.Path()).Run()
	}))
}

// What can be opened for reading or for writing can be locked, anything else is refused at
// once.
func TestPermissions(t *testing.T) {
	childtest.Need(t, "to be root", os.Geteuid() == 0)
	tf := setUp(t)
	for dir := filepath.Dir(tf.Path()); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		if info.Mode().Perm()&0o005 == 0 {
			require.NoError(t, os.Chmod(dir, 0o755))
		}
	}
	childtest.AsAnother(t, func() {
		require.ErrorIs(t, tf.ExclusiveLock(bg()), fs.ErrPermission, "to create it")
	})
	require.NoError(t, os.WriteFile(tf.Path(), nil, 0o600))
	for mode, want := range map[os.FileMode]error{
		0o600: fs.ErrPermission, 0o604: nil, 0o602: nil, 0o606: nil,
	} {
		require.NoError(t, os.Chmod(tf.Path(), mode))
		childtest.AsAnother(t, func() {
			for _, kind := range []touchfile.LockType{touchfile.Exclusive, touchfile.Shared} {
				err := tf.Lock(bg(), kind)
				require.ErrorIs(t, err, want, mode)
				require.NoError(t, tf.Unlock())
			}
		})
	}
}

// A lease (fcntl(2), F_SETLEASE), as file servers have them, is a reason to wait.
func TestLease(t *testing.T) {
	tf := setUp(t)
	f, err := os.Create(tf.Path())
	require.NoError(t, err)
	defer f.Close()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	childtest.Need(t, "a file system with leases", err == nil)
	mustBlock(t, tf, touchfile.Exclusive)
	mustBlock(t, tf, touchfile.Shared)
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	require.NoError(t, err)
	mustBeFree(t, tf)
}

// To open a FIFO must not block.
func TestSpecialFiles(t *testing.T) {
	tf := setUp(t)
	require.NoError(t, unix.Mkfifo(tf.Path(), 0o600))
	require.ErrorContains(t, tf.ExclusiveLock(bg()), "not a regular file")
	require.ErrorContains(t, tf.SharedLock(bg()), "not a regular file")
	for _, path := range []string{tf.Path(), os.DevNull} {
		_, err := touchfile.NewTouchFile(path)
		require.ErrorContains(t, err, path+": not a regular file")
	}
}

// An unlock that fails is reported, and joined to the function's error.
func TestUnlockFails(t *testing.T) {
	tf := at(t, filepath.Join(t.TempDir(), "f"))
	failure := errors.New("failure")
	err := tf.WithLock(bg(), touchfile.Exclusive, func() error {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, fd := range fds {
			link := filepath.Join("/proc/self/fd", fd.Name())
			if target, _ := os.Readlink(link); target == tf.Path() {
				closeBehindItsBack(t, fd.Name())
			}
		}
		return failure
	})
	require.ErrorIs(t, err, failure)
	require.ErrorIs(t, err, syscall.EBADF)
	require.ErrorContains(t, err, "unlock "+tf.Path())
	mustBeFree(t, tf)
}

func closeBehindItsBack(t *testing.T, fd string) {
	n, err := strconv.Atoi(fd)
	require.NoError(t, err)
	require.NoError(t, unix.Close(n))
}
