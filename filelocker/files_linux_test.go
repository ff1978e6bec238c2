package filelocker_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// The name of the file that a lock starts as must not be one that an upload can have.
func TestUploadsNamedLikeTemporaryFiles(t *testing.T) {
	for _, content := range []string{"", "hello", "1", noPID + "\n"} {
		f := setUp(t)
		temporary := temporaryName(f, "a")
		f.leave(temporary, content, time.Hour)
		f.leave(temporary+".info", "{}", time.Hour)
		before := snapshot(f, f.dir)
		g := f.newLock("a")
		err := g.takeWithin(time.Second)
		require.FileExists(t, f.path(temporary), "the content %q", content)
		require.NoError(t, err, "an upload called %s must not keep others from a", temporary)
		g.unlock()
		require.Equal(t, before, snapshot(f, f.dir), "the content %q", content)
	}
}

// temporaryName is the name that the lock file of an upload has before its own one.
func temporaryName(f *fixture, id string) string {
	f.Helper()
	needStrace(f)
	maker := f.start()
	tracer := maker.inject(killing.at("renameat2", 1))
	maker.tell("here " + id)
	require.Empty(f, maker.next(), "the process is killed before the file gets its name")
	tracer.detach()
	entries, err := os.ReadDir(f.dir)
	require.NoError(f, err)
	require.Len(f, entries, 1)
	name := entries[0].Name()
	require.NoError(f, os.Remove(f.path(name)))
	return name
}

// Lock files have filestore's mode, less the umask.
func TestPermissions(t *testing.T) {
	f := setUp(t)
	for _, umask := range []int{0, 0o022, 0o077} {
		old := syscall.Umask(umask)
		g := f.hold("a")
		f.mustBeBusy("a")
		syscall.Umask(old)
		info, err := os.Stat(f.path("a.lock"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o664&^umask), info.Mode())
		g.unlock()
	}
}

// Nothing of a lock survives in a process that the holder starts: it would keep the lock.
func TestDescriptorsAreNotInherited(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	f.settle()
	for fd, to := range descriptors() {
		if !strings.HasPrefix(to, f.dir) && !strings.Contains(to, "inotify") {
			continue
		}
		content, err := os.ReadFile("/proc/self/fdinfo/" + fd)
		require.NoError(t, err)
		require.Regexp(t, `flags:\s+0?2\d{6}`, string(content), "descriptor %s, %s, must be closed by exec", fd, to)
	}
	g.unlock()
}

// A killed process gives its locks back before its inotify instance is waited for, which can take milliseconds: the
// kernel closes what has the highest descriptor first.
func TestLockFilesAreClosedFirst(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	for _, id := range []string{"a", "b"} {
		holder.tell("lock " + id)
		holder.expect("locked " + id)
	}
	numbers := func(of string) (fds []int) {
		for _, open := range openFiles(f, holder.cmd.Process.Pid) {
			if fd, to, _ := strings.Cut(open, " "); strings.HasSuffix(to, of) {
				n, err := strconv.Atoi(fd)
				require.NoError(t, err)
				fds = append(fds, n)
			}
		}
		return fds
	}
	require.Eventually(t, func() bool {
		a, b, inotify := numbers("/a.lock"), numbers("/b.lock"), numbers("inotify")
		return len(a) == 1 && len(b) == 1 && len(inotify) == 1 && min(a[0], b[0]) > inotify[0]
	}, f.patience(), time.Millisecond, "%v", openFiles(f, holder.cmd.Process.Pid))
	f.mustBeBusy("a")
	holder.unlock("a")
	f.mustHold("b.lock")
	holder.kill()
	f.hold("b").unlock()
	f.mustBecomeEmpty()
}

// A FIFO at the name of a lock or a request must not block, and is left alone.
func TestFIFOs(t *testing.T) {
	f := setUp(t)
	require.NoError(t, unix.Mkfifo(f.path("a.lock"), 0o666))
	require.NoError(t, unix.Mkfifo(f.path("b.stop"), 0o666))
	before := snapshot(f, f.dir)
	require.ErrorContains(t, f.newLock("a").takeWithin(f.patience()), "a.lock")

	g := f.hold("b")
	f.settle()
	g.mustNotBeAsked()
	f.mustBeBusy("b")
	g.unlock()
	require.Equal(t, before, snapshot(f, f.dir))
}

// A lock file that a process is not allowed to open is somebody's, dead or not.
func TestUnreadableLockFile(t *testing.T) {
	f := setUp(t)
	need(f, "root, to be another user", os.Getuid() == 0)
	shareWithEverybody(f)
	nobody := f.start(asNobody)
	for _, content := range []string{noPID + "\n", "", "hello"} {
		f.leave("a.lock", content, time.Hour)
		require.NoError(t, os.Chmod(f.path("a.lock"), 0o600))
		nobody.tell("lock a")
		require.Eventually(t, func() bool { _, err := os.Stat(f.path("a.stop")); return err == nil },
			f.patience(), time.Millisecond, "nobody waits")
		nobody.tell("cancel a")
		nobody.expect("failed a: ERR_LOCK_TIMEOUT: failed to acquire lock before timeout")
		f.mustHold("a.lock")
		after, err := os.ReadFile(f.path("a.lock"))
		require.NoError(t, err)
		require.Equal(t, content, string(after))
	}
}

// A directory in which a process must not write is an error that names the file.
func TestReadOnlyDirectory(t *testing.T) {
	f := setUp(t)
	need(f, "root, to be another user", os.Getuid() == 0)
	shareWithEverybody(f)
	require.NoError(t, os.Chmod(f.dir, 0o755))
	nobody := f.start(asNobody)
	nobody.tell("lock a")
	event := nobody.next()
	require.Regexp(t, `^failed a: .*permission denied$`, event)
	require.Contains(t, event, f.dir)
	f.mustHold()
}

// A folder is opened by one call that keeps inside the directory. An older kernel, and a sandbox,
// do not know it.
func TestFoldersWithoutOpenat2(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	outside := t.TempDir()
	require.NoError(t, os.MkdirAll(f.path("real/folder"), 0o777))
	f.symlink("real", "inside")
	f.symlink(outside, "outside")
	for _, inject := range []string{"", "openat2:error=ENOSYS", "openat2:error=EPERM"} {
		t.Run(inject, func(t *testing.T) {
			c := f.start()
			if inject != "" {
				defer c.inject(inject).detach()
			}
			for _, id := range []string{"real/a", "real/folder/a", "inside/a", "inside/folder/a"} {
				c.tell("here " + id)
				c.expect("locked " + id)
				f.mustBeBusy(id)
				c.unlock(id)
			}
			c.tell("here outside/a")
			require.Contains(t, c.next(), "path escapes from parent")
			c.tell("here real/none/a")
			require.Contains(t, c.next(), handler.ErrNotFound.Error())
			entries, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}
