package integration_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server is killed in the middle of a PATCH. The other one goes on at once, and so does
// its successor.
func TestKilledServer(t *testing.T) {
	dir := t.TempDir()
	a, b := startServer(t, dir), startServer(t, dir)
	first, second := create(t, a.url, content(1, 256<<10)), create(t, b.url, content(2, 256<<10))
	for _, u := range []*upload{first, second} {
		stall(t, a.url, u, 0, 100<<10)
		u.awaitSize(t, dir, 100<<10)
	}
	a.kill(t)
	require.FileExists(t, first.file(dir)+".lock", "a killed server cannot clean up")

	require.Equal(t, 100<<10, resume(t, b.url, first))
	first.finish(t, b.url, dir)

	successor := a.again(t)
	require.Equal(t, 100<<10, resume(t, successor.url, second))
	second.finish(t, successor.url, dir)
	requireClean(t, dir, first, second)
}

// A request waits for an upload whose holder does not let go. The holder is killed, and the
// waiter gets the upload.
func TestKilledWhileOthersWait(t *testing.T) {
	need(t, "a system with SIGSTOP", canSuspend)
	dir := t.TempDir()
	a, b := startServer(t, dir), startServer(t, dir)
	u := create(t, a.url, content(3, 256<<10))
	stall(t, a.url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)
	a.suspend(t)

	offset := make(chan int, 1)
	go func() {
		defer close(offset)
		if a, err := head(t.Context(), b.url+u.id); err == nil {
			offset <- a.offset
		}
	}()
	awaitFile(t, u.file(dir)+".stop")
	a.kill(t)
	require.Equal(t, 100<<10, <-offset)
	u.finish(t, b.url, dir)
	requireClean(t, dir, u)
}

// A server is killed while it waits for another one's upload. Its request to let go dies
// with it and does not disturb the holders that come.
func TestKilledWaiter(t *testing.T) {
	need(t, "a system with SIGSTOP", canSuspend)
	dir := t.TempDir()
	a, b := startServer(t, dir), startServer(t, dir)
	u := create(t, a.url, content(4, 256<<10))
	s := stall(t, a.url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)
	a.suspend(t)

	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = head(t.Context(), b.url+u.id)
	}()
	awaitFile(t, u.file(dir)+".stop")
	b.kill(t)
	<-gone
	a.proceed(t)
	// Who held the upload when the request was made may be interrupted by it. The next may not.
	s.abort()
	offset := resume(t, a.url, u)
	next := stall(t, a.url, u, offset, 50<<10)
	u.awaitSize(t, dir, offset+(50<<10))
	require.NoFileExists(t, u.file(dir)+".stop")
	require.NoError(t, next.send(u.data[offset+(50<<10):]))
	done, err := next.answer()
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, done.status, "%v", done)
	u.requireComplete(t, dir)
	requireClean(t, dir, u)
}

// A server is stopped, as by a debugger or a paused container, while it waits for an upload.
// Its request stands, but not for ever: the upload goes on at the other server.
func TestSuspendedWaiter(t *testing.T) {
	need(t, "a system with SIGSTOP", canSuspend)
	t.Parallel() // it takes until the request has expired
	dir := t.TempDir()
	a, b := startServer(t, dir), startServer(t, dir)
	u := create(t, a.url, content(5, 256<<10))
	first := stall(t, a.url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)
	a.suspend(t)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = head(t.Context(), b.url+u.id)
	}()
	awaitFile(t, u.file(dir)+".stop")
	b.suspend(t)
	a.proceed(t)
	first.requireInterrupted(t)

	await(t, "a PATCH that is not interrupted", func() bool { return slowly(t, a, u) })
	u.requireComplete(t, dir)
	b.proceed(t)
	<-gone
	requireClean(t, dir, u)
}

// slowly uploads the rest in two parts, the second when the first is stored, and tells
// whether the server let it.
func slowly(t *testing.T, s *server, u *upload) bool {
	t.Helper()
	offset := headOffset(t, s.url+u.id)
	if offset == len(u.data) {
		return true
	}
	half := (len(u.data) - offset) / 2
	p := stall(t, s.url, u, offset, half)
	defer p.abort()
	ended := make(chan answer, 1)
	go func() {
		a, _ := p.answer()
		ended <- a
	}()
	stored := false
	await(t, "the first part, or the end of the PATCH", func() bool {
		stored = u.size(s.dir) == offset+half
		return stored || len(ended) > 0
	})
	if stored {
		_ = p.send(u.data[offset+half:])
	}
	return (<-ended).status == http.StatusNoContent
}
