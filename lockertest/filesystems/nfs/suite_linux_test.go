package nfs_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

// The suite runs in one guest, its other processes in both.
const (
	suiteEnv   = "NFS_TEST_SUITE" // set in that guest
	relayEnv   = "NFS_TEST_RELAY" // address of the other guest's agent
	relayedEnv = "NFS_TEST_RELAYED"
)

// suitePatience covers a lost heartbeat, and all that a busy machine makes of it.
const suitePatience = 5 * time.Minute

// suiteLocker has intervals that let the suite be shorter. They are the ones of every locker
// that takes part.
func suiteLocker(dir string) filelocker.FileLocker {
	return filelocker.FileLocker{Path: dir, HolderPollInterval: 200 * time.Millisecond, AcquirerPollInterval: 100 * time.Millisecond}
}

// TestSuiteInGuest is what testSuite runs in a guest. Readers of two machines wait for each other,
// so there is no Reading.
func TestSuiteInGuest(t *testing.T) {
	if os.Getenv(suiteEnv) == "" {
		t.Skip("runs in a guest of TestNFS")
	}
	started := 0
	lockertest.Run(t, lockertest.Factory{
		New: func(t testing.TB) handler.Locker {
			started = 0
			return suiteLocker(uploads(t))
		},
		Claims: []lockertest.Capability{
			lockertest.InOrder, lockertest.Idle, lockertest.Crash, lockertest.Pause, lockertest.StrictUnlock,
		},
		Patience: suitePatience,
		Command: func(t testing.TB, l handler.Locker) *exec.Cmd {
			cmd := exec.Command(self())
			// Where two alternate, as the subtests let them, each meets both machines.
			role := []string{relayRole, serveRole, serveRole, relayRole}[started%4]
			started++
			cmd.Env = append(os.Environ(), roleEnv+"="+role, relayedEnv+"="+serveRole, dirEnv+"="+l.(filelocker.FileLocker).Path)
			return cmd
		},
		Audit: func(t testing.TB, l handler.Locker, held ...string) {
			audit(t, l.(filelocker.FileLocker).Path, held)
		},
	})
}

func runServe(dir string) error {
	return lockertest.Serve(suiteLocker(dir), nil)
}

// uploads is a directory for lock files, with one for the uploads in a folder, below one that
// is otherwise empty. It is not removed: the export is, in the end.
func uploads(t testing.TB) string {
	dir, err := os.MkdirTemp(exportPath, "suite")
	require.NoError(t, err)
	dir = filepath.Join(dir, "1", "2", "uploads")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "folder"), 0o777))
	return dir
}

// audit requires that the directory has the lock files of the IDs that are held, and that
// nothing else is there or around it. While it is open, a file whose name was removed has one
// that the guest's kernel gives it: the temporary name of a lock file, until the lock is free.
func audit(t testing.TB, dir string, held []string) {
	want := []string{"1", "1/2", "1/2/uploads", "1/2/uploads/folder"}
	for _, id := range held {
		want = append(want, "1/2/uploads/"+id+".lock")
	}
	slices.Sort(want)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		found := around(t, filepath.Dir(filepath.Dir(filepath.Dir(dir))))
		if len(held) > 0 {
			found = slices.DeleteFunc(found, func(name string) bool { return strings.HasPrefix(filepath.Base(name), ".nfs") })
		}
		require.Equal(t, want, found, "files in and around the directory")
	}, suitePatience, 10*time.Millisecond)
}

// around lists, sorted, what is below root.
func around(t require.TestingT, root string) (found []string) {
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, path); rel != "." {
			found = append(found, rel)
		}
		return err
	}))
	slices.Sort(found)
	return found
}

// testSuite runs the whole suite in the first guest, with processes in both.
func testSuite(t *testing.T, s *site) {
	var output strings.Builder
	both := writer(func(b []byte) {
		output.Write(b)
		_, _ = os.Stdout.Write(b)
	})
	r, err := startRemote(s.guests[0].agent, command{
		Args: []string{"-test.v", "-test.timeout=150m", "-test.run=^TestSuiteInGuest$/" + *suiteRun},
		Env: []string{
			roleEnv + "=", suiteEnv + "=1",
			fmt.Sprintf("%s=%s:%d", relayEnv, hostAddr, s.guests[1].port),
		},
	}, both, os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.conn.Close() })
	<-r.gone
	require.NoError(t, r.err)
	require.Contains(t, output.String(), "--- PASS: TestSuiteInGuest ")
	s.subtests = passedIn(output.String())
}
