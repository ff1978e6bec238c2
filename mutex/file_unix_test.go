//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// place is a directory of lock files for one test, in which everybody may write.
func place(t *testing.T, env environment) (*mutex.Place, string) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	return mutex.NewPlace(dir, env), dir
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t)
}

// The directory is the machine's, whatever the environment says.
func TestOneDirectory(t *testing.T) {
	name := newName(t)
	dir := t.TempDir()
	other := start(t, withEnv("TMPDIR="+dir, "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "TMP="+dir, "TEMP="+dir))
	r := mustAcquire(t, wallSpec(name))
	other.Do("try "+name, mutex.ErrTimeout.Error())
	r.Release()
	other.Do("try "+name, "free")
	require.FileExists(t, "/tmp/juju-"+name)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// The file is empty, for everybody to open whatever the umask, and stays.
func TestFile(t *testing.T) {
	for _, umask := range []string{"000", "022", "077", "777"} {
		name := newName(t)
		c := start(t)
		c.Do("umask "+umask, "ok")
		c.hold(name)
		st := stat(t, mutex.Path(name))
		require.EqualValues(t, syscall.S_IFREG|0o444, st.Mode, umask)
		require.Zero(t, st.Size)
		c.release(name)
		require.Equal(t, st.Ino, stat(t, mutex.Path(name)).Ino)
	}
}

func TestWaiterTakesTheFileThatIsThere(t *testing.T) {
	name := newName(t)
	path := mutex.Path(name)
	r := mustAcquire(t, wallSpec(name))
	old := stat(t, path).Ino
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	keep, err := os.Open(path) // else the new file could get the number of the old one
	require.NoError(t, err)
	defer keep.Close()
	require.NoError(t, os.Remove(path))
	r.Release()
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	require.NotEqual(t, old, stat(t, path).Ino, "it locked the removed file")
	got.Release()
}

func TestWhatIsNoLockFile(t *testing.T) {
	p, dir := place(t, environment{})
	target := filepath.Join(t.TempDir(), "target")
	require.NoError(t, os.WriteFile(target, []byte("mine"), 0o600))
	for name, make := range map[string]func(path string) error{
		"symlink":  func(path string) error { return os.Symlink(target, path) },
		"dangling": func(path string) error { return os.Symlink(target+"2", path) },
		"pipe":     func(path string) error { return unix.Mkfifo(path, 0o666) },
		"dir":      func(path string) error { return os.Mkdir(path, 0o777) },
		"socket": func(path string) error {
			l, err := net.Listen("unix", path)
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		},
	} {
		name += newName(t)
		path := filepath.Join(dir, "juju-"+name)
		require.NoError(t, make(path))
		_, err := p.Acquire(wallSpec(name))
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "not a regular file")
		var pathErr *fs.PathError
		require.ErrorAs(t, err, &pathErr)
	}
	b, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
	require.NoFileExists(t, target+"2")
}

// A file with a second name could make one mutex of two, or be one that somebody needs.
func TestHardLink(t *testing.T) {
	p, dir := place(t, environment{"SUDO_UID": "54321", "SUDO_GID": "54321"})
	name := newName(t)
	target := filepath.Join(dir, "target")
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	require.NoError(t, os.Link(target, filepath.Join(dir, "juju-"+name)))
	before := stat(t, target)
	_, err := p.Acquire(wallSpec(name))
	require.ErrorContains(t, err, "the file has other links")
	require.Equal(t, before, stat(t, target))
}

func TestContentIsLeftAlone(t *testing.T) {
	p, dir := place(t, environment{})
	name := newName(t)
	path := filepath.Join(dir, "juju-"+name)
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	r, err := p.Acquire(wallSpec(name))
	require.NoError(t, err)
	r.Release()
	require.EqualValues(t, syscall.S_IFREG|0o600, stat(t, path).Mode, "a private file with content became public")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))

	// One without content is what a killed process or an older implementation left.
	name = newName(t)
	path = filepath.Join(dir, "juju-"+name)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	r, err = p.Acquire(wallSpec(name))
	require.NoError(t, err)
	r.Release()
	require.EqualValues(t, syscall.S_IFREG|0o644, stat(t, path).Mode)
}

func TestDirectory(t *testing.T) {
	dir, name := t.TempDir(), newName(t)
	for mode, sound := range map[fs.FileMode]bool{
		0o700:                 true,
		0o755:                 true,
		0o775:                 false,
		0o757:                 false,
		0o777:                 false,
		0o777 | fs.ModeSetgid: false,
		0o775 | fs.ModeSticky: true,
		0o777 | fs.ModeSticky: true,
	} {
		require.NoError(t, os.Chmod(dir, mode))
		first, second := mutex.NewPlace(dir, environment{}), mutex.NewPlace(t.TempDir(), environment{})
		second.Spare(dir)
		for _, p := range []*mutex.Place{first, second} {
			r, err := p.Acquire(wallSpec(name))
			if sound {
				require.NoError(t, err, mode)
				r.Release()
			} else {
				require.EqualError(t, err, "open "+dir+": others may write to the directory, and it is not sticky", mode)
			}
		}
	}
	_, err := mutex.NewPlace(dir+"/absent", environment{}).Acquire(wallSpec(name))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, dir+"/absent")
}

func TestReleasePanicsIfItCannot(t *testing.T) {
	for _, part := range mutex.Parts {
		name := newName(t)
		r := mustAcquire(t, wallSpec(name))
		mutex.Break(r, part)
		require.Panics(t, r.Release, part)
		require.NotPanics(t, r.Release, part)
		mustBeFree(t, name) // and nobody waits for ever
	}
}

// With the file gone, or another in its place, there is something else to keep a second one out.
func TestRemovedWhileHeld(t *testing.T) {
	name := newName(t)
	holder := start(t)
	holder.hold(name)
	require.NoError(t, os.Remove(mutex.Path(name)))
	mustBeBusy(t, name) // and makes the file anew
	mustBeBusy(t, name)
	require.NoError(t, os.WriteFile(mutex.Path(name)+"x", nil, 0o444))
	require.NoError(t, os.Rename(mutex.Path(name)+"x", mutex.Path(name)))
	mustBeBusy(t, name)
	holder.release(name)
	mustBeFree(t, name)
}

// Holders that remove the file do not let in a second one.
func TestRemovedInTurn(t *testing.T) {
	mustCount(t, newName(t), "first", start(t), start(t), start(t))
}

// olderFile is what an implementation does that only knows the file.
func olderFile(t *testing.T, name string) (fd int) {
	fd, err := syscall.Open(mutex.Path(name), syscall.O_CREAT|syscall.O_RDONLY|syscall.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Flock(fd, syscall.LOCK_EX))
	return fd
}

func TestOlderFile(t *testing.T) {
	name := newName(t)
	fd := olderFile(t, name)
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	c.next(t, delay).fire()
	poll := c.next(t, delay)
	require.NoError(t, syscall.Flock(fd, syscall.LOCK_UN))
	poll.fire()
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	require.True(t, errors.Is(err, syscall.EWOULDBLOCK), err)
	got.Release()
	require.NoError(t, syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB))
}

// What turns out to be free when the time is up is acquired, but not by one who was cancelled.
func TestFreeAtTheEnd(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		name := newName(t)
		fd := olderFile(t, name)
		c, cancel := newClock(), make(chan struct{})
		spec := c.spec(name)
		spec.Cancel = cancel
		second := acquire(spec)
		deadline := c.next(t, timeout)
		c.next(t, delay)
		require.NoError(t, syscall.Flock(fd, syscall.LOCK_UN)) // of which nobody is told
		if cancelled {
			close(cancel)
			require.ErrorIs(t, receive(t, second, "the second").err, mutex.ErrCancelled)
		} else {
			deadline.fire()
			got := receive(t, second, "the second")
			require.NoError(t, got.err)
			got.Release()
		}
		mustBeFree(t, name)
	}
}

func TestNoFileIsLeftOpen(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	require.NotEmpty(t, openFiles(name))
	r.Release()
	require.Empty(t, openFiles(name))
}

func openFiles(name string) (open []string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, _ := os.Readlink(link); strings.HasSuffix(to, name) {
			open = append(open, to)
		}
	}
	return open
}
