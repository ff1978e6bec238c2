package filelocker_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

func TestLockFile(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	content, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	lines := strings.Split(string(content), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, strconv.Itoa(os.Getpid()), lines[0], "all that the stock locker reads")
	var stamp map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &stamp))
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, stamp["host"])
	require.Empty(t, lines[2], "the last line is a whole one")
	g.unlock()

	again := f.hold("a")
	next, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	require.NotEqual(t, string(content), string(next), "a stamp is never used twice")
	again.unlock()
	f.mustHold()
}

func TestMissingDirectories(t *testing.T) {
	f := setUp(t)
	for _, id := range []string{"folder/a", "folder/and/another/a"} {
		require.Equal(t, handler.ErrNotFound, f.newLock(id).takeWithin(f.patience()))
	}
	f.leave("file", "content", 0)
	require.Equal(t, handler.ErrNotFound, f.newLock("file/a").takeWithin(f.patience()), "below a file there is no upload")
	f.mustHold("file")

	for _, id := range []string{"a", "folder/a"} {
		missing := setUpIn(t, f.kind, f.path("missing"), f.set)
		err := missing.newLock(id).takeWithin(f.patience())
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, missing.dir)
		require.NotEqual(t, handler.ErrNotFound, err, "the server is set up wrong, and tusd must not hide that")
	}
	f.mustHold("file")
}

// The directory may be removed and made anew during the life of a process.
func TestDirectoryIsMadeAnew(t *testing.T) {
	f := setUp(t)
	require.NoError(t, os.Mkdir(f.path("folder"), 0o777))
	for _, id := range []string{"folder/a", "a"} {
		g := f.hold(id)
		dir := filepath.Dir(f.path(id))
		require.NoError(t, os.RemoveAll(dir))
		g.mustBeAsked()
		require.ErrorIs(t, g.lock.Unlock(), filelocker.ErrLockLost)
		require.NoError(t, os.MkdirAll(dir, 0o777))
		f.hold(id).unlock()
	}
	f.mustHold()
}

// What is no lock file belongs to somebody else, and so does what cannot be opened or read.
func TestForeignContentIsLeftAlone(t *testing.T) {
	for _, content := range []string{
		"hello\nworld", "hello", "\n", " 1\n", "+1\n", "01\n", "0x1\n", noPID + " x\n", noPID + "\nx\n",
		"-1\n", "0\n", "1.5\n", noPID + "\n{}\n", noPID + "\n[]", "99999999999999999999\n",
		noPID + strings.Repeat(" ", 10000), strings.Repeat("1", 10000),
	} {
		for _, age := range []time.Duration{0, time.Hour} {
			f := setUp(t)
			f.leave("a.lock", content, age)
			before := snapshot(f, f.dir)
			require.Equal(t, handler.ErrLockTimeout, f.newLock("a").takeWithin(10*time.Millisecond), "%.20q", content)
			require.Equal(t, before, snapshot(f, f.dir), "%.20q", content)
		}
	}
}

// Creating a file without hard links and without a rename that replaces nothing takes two
// steps, so an empty file may be a lock soon. After some time it is a power failure's.
func TestEmptyFileMayBecomeALock(t *testing.T) {
	f := setUp(t)
	f.leave("a.lock", "", 0)
	f.mustBeBusy("a")
	f.mustHold("a.lock")
	f.leave("a.lock", "", time.Minute)
	f.hold("a").unlock()
	f.mustHold()
}

// An empty .stop may be a request. Anything else of that name is not, and stays.
func TestForeignStopFiles(t *testing.T) {
	for name, make := range map[string]func(*fixture){
		"content":          func(f *fixture) { f.leave("a.stop", "content", time.Hour) },
		"directory":        func(f *fixture) { require.NoError(f, os.Mkdir(f.path("a.stop"), 0o777)) },
		"dangling symlink": func(f *fixture) { f.symlink("nowhere", "a.stop") },
		"symlink": func(f *fixture) {
			f.leave("elsewhere", "", time.Hour)
			f.symlink("elsewhere", "a.stop")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			make(f)
			before := snapshot(f, f.dir)
			g := f.hold("a")
			f.settle()
			g.mustNotBeAsked()
			f.mustBeBusy("a")
			other := f.start()
			other.tell("lock a")
			g.unlock()
			other.expect("locked a")
			other.unlock("a")
			require.Equal(t, before, snapshot(f, f.dir))
		})
	}
}

func (f *fixture) symlink(to, name string) {
	f.Helper()
	require.NoError(f, os.Symlink(to, f.path(name)))
}

// What is not a file is refused with an error that names it, and left alone.
func TestLockNameIsNoFile(t *testing.T) {
	for name, make := range map[string]func(*fixture){
		"directory":        func(f *fixture) { require.NoError(f, os.Mkdir(f.path("a.lock"), 0o777)) },
		"dangling symlink": func(f *fixture) { f.symlink("nowhere", "a.lock") },
		"symlink to a dead lock": func(f *fixture) {
			f.leave("elsewhere", noPID+"\n", time.Hour)
			f.symlink("elsewhere", "a.lock")
		},
		"symlink to itself": func(f *fixture) { f.symlink("a.lock", "a.lock") },
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			make(f)
			before := snapshot(f, f.dir)
			err := f.newLock("a").takeWithin(f.patience())
			require.ErrorContains(t, err, "a.lock")
			require.NotEqual(t, handler.ErrLockTimeout, err)
			require.NotEqual(t, handler.ErrNotFound, err)
			require.Equal(t, before, snapshot(f, f.dir))
			f.hold("b").unlock()
		})
	}
}

// A symlink inside the directory must not lead out of it.
func TestSymlinkedFolders(t *testing.T) {
	f := setUp(t)
	outside := t.TempDir()
	require.NoError(t, os.Mkdir(f.path("real"), 0o777))
	f.symlink(outside, "absolute")
	up, err := filepath.Rel(f.dir, outside)
	require.NoError(t, err)
	f.symlink(up, "relative")
	f.symlink("real", "inside")
	before, beforeOutside := snapshot(f, f.dir), snapshot(f, outside)

	for _, id := range []string{"absolute/a", "relative/a"} {
		require.Error(t, f.newLock(id).takeWithin(f.patience()), id)
		require.Equal(t, beforeOutside, snapshot(f, outside), id)
		require.Equal(t, before, snapshot(f, f.dir), id)
	}
	g := f.hold("inside/a")
	require.FileExists(t, f.path("real/a.lock"))
	f.mustBeBusy("real/a")
	g.unlock()
	require.Equal(t, before, snapshot(f, f.dir))
}

// A folder that is replaced by a symlink during a hold must not lead the Unlock out.
func TestFolderBecomesASymlink(t *testing.T) {
	f := setUp(t)
	outside := t.TempDir()
	require.NoError(t, os.Mkdir(f.path("folder"), 0o777))
	g := f.hold("folder/a")
	content, err := os.ReadFile(f.path("folder/a.lock"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(outside, "a.lock"), content, 0o664))
	require.NoError(t, os.Rename(f.path("folder"), f.path("moved")))
	f.symlink(outside, "folder")
	before := snapshot(f, outside)
	_ = g.lock.Unlock() // whether the lock was lost with its folder's name is open
	require.Equal(t, before, snapshot(f, outside))
	require.Error(t, f.newLock("folder/a").take(context.Background()))
	require.Equal(t, before, snapshot(f, outside))
}

// Who waits in a folder that goes away does not wait for ever.
func TestFolderGoesAwayUnderAWaiter(t *testing.T) {
	f := setUp(t)
	require.NoError(t, os.Mkdir(f.path("folder"), 0o777))
	holder := f.start()
	holder.tell("here folder/a")
	holder.expect("locked folder/a")
	waiter, done := f.queue(context.Background(), "folder/a")
	holder.expect("asked folder/a")
	require.Eventually(t, func() bool { return os.RemoveAll(f.path("folder")) == nil },
		f.patience(), time.Millisecond, "the waiter puts files there now and then")
	err := receive(f, done, "a waiter without a folder")
	if err == nil { // between the removal of the lock file and that of the folder
		require.ErrorIs(t, waiter.lock.Unlock(), filelocker.ErrLockLost)
		require.NoDirExists(t, f.path("folder"))
		err = waiter.takeWithin(f.patience())
	}
	require.Equal(t, handler.ErrNotFound, err)
}
