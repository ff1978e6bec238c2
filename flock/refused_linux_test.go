package flock_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

func TestNoPermission(t *testing.T) {
	childtest.Need(t, "to be root", os.Geteuid() == 0)
	t.Run("another user's file", func(t *testing.T) {
		s := setUp(t)
		unlock := s.lock(bg())
		childtest.AsAnother(t, func() {
			require.ErrorIs(t, s.mustFail(flock.TryLock(bg(), s.root)), fs.ErrPermission)
			require.ErrorIs(t, s.mustFail(flock.TryRLock(bg(), s.root)), fs.ErrPermission)
		})
		require.NoError(t, unlock())
	})
	t.Run("another user's directory", func(t *testing.T) {
		s := setUp(t)
		childtest.AsAnother(t, func() {
			err := s.mustFail(flock.TryLock(bg(), s.root))
			require.ErrorIs(t, err, fs.ErrPermission)
			require.ErrorContains(t, err, s.path())
		})
		_, err := os.Lstat(s.path())
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
	t.Run("a frozen holder in another user's directory", func(t *testing.T) {
		s := setUp(t)
		unlock := s.lock(bg())
		require.NoError(t, os.Chmod(s.path(), 0o666))
		s.age()
		childtest.AsAnother(t, func() {
			require.ErrorIs(t, s.mustFail(flock.TryLock(bg(), s.root)), fs.ErrPermission)
		})
		require.NoError(t, unlock())
		childtest.AsAnother(t, func() { require.NoError(t, s.lock(bg())()) }) // stale, but free
	})
}

// Another user who may write can recover as well, although the mark is not his to set.
func TestRecoverAnotherUsersFile(t *testing.T) {
	childtest.Need(t, "to be root", os.Geteuid() == 0)
	s := setUp(t)
	unlock := s.lock(bg())
	require.NoError(t, os.Chmod(s.path(), 0o666))
	require.NoError(t, os.Chmod(s.root.Name(), 0o777))
	s.age()
	childtest.AsAnother(t, func() {
		mine := s.lock(bg())
		require.EqualValues(t, 65534, s.stat().Sys().(*syscall.Stat_t).Uid)
		require.NoError(t, mine())
	})
	require.ErrorIs(t, unlock(), flock.ErrUnlockUnsuccessful)
}

func TestFIFO(t *testing.T) {
	s := setUp(t)
	require.NoError(t, unix.Mkfifo(s.path(), 0o600))
	require.ErrorContains(t, s.mustFail(flock.TryLock(bg(), s.root)), "not a regular file")
}

// Where directories cannot be locked, those who recover lock another file.
func TestNoDirectoryLock(t *testing.T) {
	childtest.NeedStrace(t)
	recoveryFile := func(s store) string { return filepath.Join(s.root.Name(), flock.RecoveryFile) }
	for name, rule := range map[string]string{
		"stale":  "flock:error=EBADF:when=2", // the first one is that of the lock file
		"frozen": "flock:error=EBADF:when=2",
	} {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			holder := scenes[name](s)
			before := s.stat()
			c := s.start()
			tr := c.Inject(rule)
			c.Do("here", "locked")
			tr.Detach()
			require.FileExists(t, recoveryFile(s))
			require.Equal(t, name == "stale", os.SameFile(before, s.stat()))
			c.Do("unlock", "unlocked")
			if holder != nil {
				require.Error(t, holder())
			}
		})
	}
}
