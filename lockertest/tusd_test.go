package lockertest_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	stockfilelocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

func TestFileLocker(t *testing.T) {
	t.Parallel()
	reading, done := shareReads()
	t.Cleanup(done)
	lockertest.Run(t, lockertest.Factory{
		New:     func(t testing.TB) handler.Locker { return filelocker.New(uploads(t)) },
		Claims:  []lockertest.Capability{lockertest.InOrder, lockertest.Idle, lockertest.Crash, lockertest.Pause, lockertest.StrictUnlock},
		Reading: reading,
		Command: func(t testing.TB, l handler.Locker) *exec.Cmd {
			return again(t, "ours", l.(filelocker.FileLocker).Path)
		},
		Audit: func(t testing.TB, l handler.Locker, held ...string) {
			audit(t, l.(filelocker.FileLocker).Path, held)
		},
	})
}

// With flat names all IDs are file names, also those that are paths.
func TestFileLockerFlatNames(t *testing.T) {
	t.Parallel()
	lockertest.Run(t, lockertest.Factory{
		New: func(t testing.TB) handler.Locker {
			return filelocker.FileLocker{Path: uploads(t), FlatNames: true}
		},
		Claims: []lockertest.Capability{lockertest.InOrder, lockertest.Idle, lockertest.StrictUnlock},
	})
}

func TestMemoryLocker(t *testing.T) {
	t.Parallel()
	lockertest.Run(t, lockertest.Factory{
		New:      func(testing.TB) handler.Locker { return memorylocker.New() },
		Claims:   []lockertest.Capability{lockertest.Idle},
		Patience: 10 * time.Second,
		Known: map[string]string{
			"EndedContextFree":         "a free lock is taken without a look at the context",
			"RequestOnce":              "every waiter calls the release callback of the holder",
			"SecondUnlock":             "panics: close of nil channel",
			"UnlockNeverLocked":        "panics: close of nil channel",
			"SecondUnlockTakesNothing": "Unlock frees whatever hold there is",
			"ForeignUnlock":            "Unlock frees whatever hold there is",
			"UnlockAfterTimeout":       "Unlock frees whatever hold there is",
			"BlockedCallback":          "the callback runs in the Lock of the waiter, which then ignores its context",
		},
	})
}

func TestStockFileLocker(t *testing.T) {
	t.Parallel()
	lockertest.Run(t, lockertest.Factory{
		New: func(t testing.TB) handler.Locker {
			l := stock(uploads(t))
			if strings.HasSuffix(t.Name(), "/ManyIDs") { // of thousands, each hold looks that often
				l.HolderPollInterval = time.Second
			}
			return l
		},
		Claims:   []lockertest.Capability{lockertest.Idle, lockertest.Crash, lockertest.Pause},
		Patience: 10 * time.Second,
		Command: func(t testing.TB, l handler.Locker) *exec.Cmd {
			return again(t, "stock", l.(stockfilelocker.FileLocker).Path)
		},
		Audit: func(t testing.TB, l handler.Locker, held ...string) {
			audit(t, l.(stockfilelocker.FileLocker).Path, held)
		},
		Known: map[string]string{
			"EndedContextFree":               "a free lock is taken without a look at the context",
			"RelockAfterUnlock":              "a lock object that is used again is not asked to let go, and its Unlock panics",
			"SecondUnlock":                   "panics: close of closed channel",
			"HostileIDs":                     "an ID is a path that is cleaned: / and the empty ID, /x and x, a/../x and x share a lock",
			"Confinement":                    "an ID such as ../x leaves the directory",
			"Idle":                           "one goroutine for every held lock",
			"TimeoutLeavesNothing":           "tusd#1372: the .stop file stays",
			"ForeignUnlock":                  "Unlock frees what has the PID of the process in it",
			"UnlockAfterTimeout":             "Unlock frees what has the PID of the process in it",
			"Processes/CrashRequest":         "tusd#1372: the heir of a killed process is stopped by its own .stop file",
			"Processes/TimeoutLeavesNothing": "tusd#1372: the .stop file stays",
			"Processes/ForeignUnlock":        "Unlock frees what has the PID of the process in it",
		},
		Sometimes: map[string]string{
			"OwnRequest":             "tusd#1372: a waiter makes its .stop file when the holder has just let go, and is stopped by it",
			"Processes/OwnRequest":   "tusd#1372: a waiter makes its .stop file when the holder has just let go, and is stopped by it",
			"Processes/CrashHeirs":   "of two who see a dead PID, the second removes the lock of the first",
			"Processes/KilledWaiter": "a waiter that is killed in the middle of a try leaves the file that it tries with",
		},
	})
}

// uploads is a directory for lock files, with one for the uploads in a folder, below one that
// is otherwise empty.
func uploads(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "1", "2", "uploads")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "folder"), 0o777))
	return dir
}

// audit requires that the directory has the lock files of the IDs that are held, and that
// nothing else is there or around it.
func audit(t testing.TB, dir string, held []string) {
	want := []string{"1", "1/2", "1/2/uploads", "1/2/uploads/folder"}
	for _, id := range held {
		want = append(want, "1/2/uploads/"+id+".lock")
	}
	slices.Sort(want)
	require.Equal(t, want, around(t, dir), "files in and around the directory")
}

// auditOutside requires that nothing is around the directory.
func auditOutside(t testing.TB, dir string) {
	found := slices.DeleteFunc(around(t, dir), func(name string) bool { return strings.HasPrefix(name, "1/2/uploads/") })
	require.Equal(t, []string{"1", "1/2", "1/2/uploads"}, found, "files around the directory")
}

// around lists, sorted, what is below the directory that uploads has made its own in.
func around(t testing.TB, dir string) (found []string) {
	root := filepath.Dir(filepath.Dir(filepath.Dir(dir)))
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, path); rel != "." {
			found = append(found, filepath.ToSlash(rel))
		}
		return err
	}))
	slices.Sort(found)
	return found
}
