//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// environment is one for tests.
type environment map[string]string

func (e environment) LookupEnv(key string) (string, bool) { v, ok := e[key]; return v, ok }
func (e environment) Getenv(key string) string            { return e[key] }

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
	require.Equal(t, mutex.ErrTimeout.Error(), other.tell("try", name))
	r.Release()
	require.Equal(t, "free", other.tell("try", name))
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
		require.Equal(t, "ok", c.tell("umask", umask))
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
	target := filepath.Join(dir, "target")
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	require.NoError(t, os.Link(target, filepath.Join(dir, "juju-link")))
	before := stat(t, target)
	_, err := p.Acquire(wallSpec("link"))
	require.ErrorContains(t, err, "the file has other links")
	require.Equal(t, before, stat(t, target))
}

func TestContentIsLeftAlone(t *testing.T) {
	p, dir := place(t, environment{})
	path := filepath.Join(dir, "juju-content")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	r, err := p.Acquire(wallSpec("content"))
	require.NoError(t, err)
	r.Release()
	require.EqualValues(t, syscall.S_IFREG|0o600, stat(t, path).Mode, "a private file with content became public")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))

	// One without content is what a killed process or an older implementation left.
	path = filepath.Join(dir, "juju-empty")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	r, err = p.Acquire(wallSpec("empty"))
	require.NoError(t, err)
	r.Release()
	require.EqualValues(t, syscall.S_IFREG|0o644, stat(t, path).Mode)
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
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
		r, err := mutex.NewPlace(dir, environment{}).Acquire(wallSpec("a"))
		if sound {
			require.NoError(t, err, mode)
			r.Release()
		} else {
			require.EqualError(t, err, "open "+dir+": others may write to the directory, and it is not sticky", mode)
		}
	}
	_, err := mutex.NewPlace(dir+"/absent", environment{}).Acquire(wallSpec("a"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, dir+"/absent")
}

// A holder that is killed holds nothing through the children it leaves behind.
func TestNotInherited(t *testing.T) {
	name := newName(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close() // ends the grandchild
	holder := start(t, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{r} })
	r.Close()
	holder.hold(name)
	pid, err := strconv.Atoi(holder.tell("spawn"))
	require.NoError(t, err)
	holder.kill()
	mustAcquire(t, wallSpec(name)).Release()
	require.NoError(t, syscall.Kill(pid, 0), "the grandchild is gone")

	// Nor does a child keep what its parent has released.
	mine := mustAcquire(t, wallSpec(name))
	child := start(t)
	mine.Release()
	require.Equal(t, "free", child.tell("try", name))
	mustBeFree(t, name)
}

// A free mutex is free for a single try also while children are being started, which have
// copies of all descriptors for a moment.
func TestFreeWhileChildrenStart(t *testing.T) {
	name := newName(t)
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	defer all.Wait()
	defer close(stop)
	for range 3000 {
		mustBeFree(t, name)
	}
}

func TestReleasePanicsIfItCannot(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	mutex.Break(r)
	require.Panics(t, r.Release)
	require.NotPanics(t, r.Release)
	mustBeFree(t, name) // and nobody waits for ever
}

// A child that removes the file before it lets go does not let in two: whoever opened the
// old file looks at the name once it has the lock.
func TestRemovedInTurn(t *testing.T) {
	mustCount(t, newName(t), "remove", start(t), start(t), start(t))
}

// Older implementations that only know the file exclude this one, and the other way round.
func TestOlderFile(t *testing.T) {
	name := newName(t)
	fd, err := syscall.Open(mutex.Path(name), syscall.O_CREAT|syscall.O_RDONLY|syscall.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	defer syscall.Close(fd)
	require.NoError(t, syscall.Flock(fd, syscall.LOCK_EX))
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	c.next(t, delay).fire()
	poll := c.next(t, delay)
	require.NoError(t, syscall.Flock(fd, syscall.LOCK_UN))
	poll.fire()
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	require.True(t, errors.Is(err, syscall.EWOULDBLOCK), err)
	got.Release()
	require.NoError(t, syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB))
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
