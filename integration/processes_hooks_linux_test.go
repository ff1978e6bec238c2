package integration_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Hooks leave processes in the background, and wait themselves while their PATCH holds the
// upload. The server is killed: both outlive it, and neither has its locks or its port. The
// hooks start while others take their locks, so that there is much to inherit.
func TestHooksThatOutliveTheServer(t *testing.T) {
	_, err := os.Stat("/bin/sh")
	need(t, "/bin/sh", err == nil)
	dir, hooks := t.TempDir(), t.TempDir()
	// The new name makes the numbers visible only when they are complete. With the server's
	// standard error open, they would keep the test waiting for its end.
	script := "#!/bin/sh\nexec 2>/dev/null\nsleep 1000 </dev/null >/dev/null 2>&1 &\n" +
		"echo $! $$ >\"pids-$TUS_ID.tmp\" && mv \"pids-$TUS_ID.tmp\" \"pids-$TUS_ID\"\nwait\n"
	require.NoError(t, os.WriteFile(filepath.Join(hooks, "pre-finish"), []byte(script), 0o755))
	a := startServer(t, dir, args("-hooks-dir", hooks, "-hooks-enabled-events", "pre-finish"))
	b := startServer(t, dir)

	uploads := make([]*upload, 12)
	for i := range uploads {
		uploads[i] = create(t, a.url, content(uint64(i), 64<<10))
	}
	var patches sync.WaitGroup
	t.Cleanup(patches.Wait)
	for _, u := range uploads {
		patches.Go(func() { _, _ = patch(t.Context(), a.url+u.id, 0, u.data) })
	}
	var left []int
	for _, u := range uploads {
		left = append(left, backgrounds(t, filepath.Join(hooks, "pids-"+u.id))...)
		require.FileExists(t, u.file(dir)+".lock", "the hook runs under the lock")
	}
	a.kill(t)

	next := a.again(t) // on the same port
	for i, u := range uploads {
		heir := []*server{b, next}[i%2]
		require.FileExists(t, u.file(dir)+".lock", "a killed server cannot clean up")
		require.Equal(t, len(u.data), resume(t, heir.url, u))
		u.requireComplete(t, dir)
	}
	requireClean(t, dir, uploads...)
	for _, pid := range left {
		requireNothingOpen(t, pid, dir)
	}
}

// backgrounds reads the PIDs that a hook has written, of processes that the test has to end.
func backgrounds(t *testing.T, file string) (pids []int) {
	t.Helper()
	awaitFile(t, file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		require.NoError(t, err)
		pids = append(pids, pid)
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	}
	require.Len(t, pids, 2)
	return pids
}

// requireNothingOpen requires that a process runs, and has no file in dir open and no socket.
func requireNothingOpen(t *testing.T, pid int, dir string) {
	t.Helper()
	links, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	require.NoError(t, err)
	require.NotEmpty(t, links, "process %d has ended", pid)
	for _, link := range links {
		to, err := os.Readlink(link)
		require.NoError(t, err)
		require.False(t, strings.HasPrefix(to, dir) || strings.HasPrefix(to, "socket:") || strings.Contains(to, "inotify"),
			"process %d has inherited %s", pid, to)
	}
}
