package integration_test

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func needRoot(t testing.TB) {
	t.Helper()
	need(t, "root, for namespaces and other users", os.Getuid() == 0)
}

// A server that was PID 1 of its container is killed and comes back as PID 1 of a new one.
// The lock that is left names PID 1, which is alive, and blocks nobody.
func TestRestartAsPID1(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"ours", "stock"} {
		t.Run("lock left by "+name, func(t *testing.T) {
			dir := t.TempDir()
			options := []option{contained("tusd")}
			if name == "stock" {
				options = append(options, stock())
			}
			s := startServer(t, dir, options...)
			u := create(t, s.url, content(1, 256<<10))
			stall(t, s.url, u, 0, 100<<10)
			u.awaitSize(t, dir, 100<<10)
			s.kill(t)

			lock := u.file(dir) + ".lock"
			left, err := os.ReadFile(lock)
			require.NoError(t, err)
			require.Regexp(t, `^1\n`, string(left))
			if name == "stock" {
				// Nothing but the time tells this PID 1 from the next, and clocks are coarse.
				past := time.Now().Add(-time.Minute)
				require.NoError(t, os.Chtimes(lock, past, past))
			}
			next := startServer(t, dir, contained("tusd"))
			require.Equal(t, 100<<10, resume(t, next.url, u))
			u.finish(t, next.url, dir)
			requireClean(t, dir, u)
		})
	}
}

// The numbers of live processes in different PID namespaces say nothing about each other:
// the same number is another process, and a number may be unknown and its process alive.
func TestLiveHolderInAnotherNamespace(t *testing.T) {
	needRoot(t)
	for name, where := range map[string]struct{ holder, waiter []option }{
		"both PID 1":            {[]option{contained("one")}, []option{contained("two")}},
		"holder PID 1":          {[]option{contained("one")}, nil},
		"holder's PID unknown":  {nil, []option{contained("two")}},
		"same name, both PID 1": {[]option{contained("tusd")}, []option{contained("tusd")}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			holder := startServer(t, dir, where.holder...)
			waiter := startServer(t, dir, append(where.waiter, args("-acquire-lock-timeout", "1s"))...)
			t.Run("lets go when asked", func(t *testing.T) {
				requireClean(t, dir, handOver(t, dir, holder.url, waiter.url))
			})
			t.Run("is not robbed", func(t *testing.T) {
				requireNotRobbed(t, holder, waiter)
			})
		})
	}
}

// A process of another user answers kill(2) with EPERM and is alive all the same.
func TestLiveHolderOfAnotherUser(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	holder := startServer(t, dir, asUser(12345))
	waiter := startServer(t, dir, asUser(12346), args("-acquire-lock-timeout", "1s"))
	requireNotRobbed(t, holder, waiter)

	u := create(t, holder.url, content(5, 256<<10))
	s := stall(t, holder.url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)
	require.Equal(t, 100<<10, resume(t, waiter.url, u))
	s.requireInterrupted(t)

	stall(t, holder.url, u, 100<<10, 100<<10)
	u.awaitSize(t, dir, 200<<10)
	holder.kill(t)
	require.Equal(t, 200<<10, resume(t, waiter.url, u), "the lock of a dead holder of another user")
}

// requireNotRobbed suspends the holder in the middle of a PATCH: it cannot let go, and
// nobody takes the upload from it. The one who gave up waiting leaves nothing behind that
// would disturb the holder, so that its PATCH completes when it goes on.
func requireNotRobbed(t *testing.T, holder, waiter *server) {
	t.Helper()
	dir := holder.dir
	u := create(t, holder.url, content(6, 256<<10))
	s := stall(t, holder.url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)
	held, err := os.Stat(u.file(dir) + ".lock")
	require.NoError(t, err)
	holder.suspend(t)

	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a, err := patch(ctx, waiter.url+u.id, 100<<10, u.data[100<<10:])
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, a.status)
	require.Equal(t, "ERR_LOCK_TIMEOUT", a.code)
	still, err := os.Stat(u.file(dir) + ".lock")
	require.NoError(t, err)
	require.True(t, os.SameFile(held, still), "the lock file was replaced")
	require.Equal(t, 100<<10, u.size(dir), "two wrote to one upload")
	require.NoFileExists(t, u.file(dir)+".stop", "a request that nobody makes any more")

	holder.proceed(t)
	require.NoError(t, s.send(u.data[100<<10:]))
	a, err = s.answer()
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, a.status, "the holder was disturbed: %v", a)
	u.requireComplete(t, dir)
	await(t, "the end of the hold", func() bool {
		_, err := os.Lstat(u.file(dir) + ".lock")
		return os.IsNotExist(err)
	})
}
