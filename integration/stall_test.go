package integration_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A PATCH stalls half way and its connection stays open. HEAD gets the upload out of its
// hands, and another PATCH completes it.
func TestStalledPatch(t *testing.T) {
	t.Run("one server", func(t *testing.T) {
		s := startServer(t, t.TempDir())
		u := handOver(t, s.dir, s.url, s.url)
		requireClean(t, s.dir, u)
	})
	t.Run("two servers", func(t *testing.T) {
		dir := t.TempDir()
		a, b := startServer(t, dir), startServer(t, dir)
		there := handOver(t, dir, a.url, b.url)
		back := handOver(t, dir, b.url, a.url)
		requireClean(t, dir, there, back)
	})
}

// handOver stalls a PATCH at one endpoint and goes on at the other.
func handOver(t *testing.T, dir, from, to string) *upload {
	t.Helper()
	u := create(t, from, content(1, 512<<10))
	half := len(u.data) / 2
	s := stall(t, from, u, 0, half)
	u.awaitSize(t, dir, half)
	require.Equal(t, half, resume(t, to, u))
	s.requireInterrupted(t)
	u.finish(t, to, dir)
	return u
}

// resume asks where to go on and logs how long the answer took.
func resume(t testing.TB, endpoint string, u *upload) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	start := time.Now()
	a, err := head(ctx, endpoint+u.id)
	took := time.Since(start)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status, "%v", a)
	t.Logf("HEAD answered after %v", took.Round(10*time.Microsecond))
	return a.offset
}

// Many ask at once, at both servers, while a PATCH stalls. Each gets its turn.
func TestManyAskForStalledPatch(t *testing.T) {
	dir := t.TempDir()
	servers := []*server{startServer(t, dir), startServer(t, dir)}
	u := create(t, servers[0].url, content(2, 256<<10))
	s := stall(t, servers[0].url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)

	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	var group sync.WaitGroup
	answers, errs := make([]answer, 40), make([]error, 40)
	for i := range answers {
		group.Go(func() { answers[i], errs[i] = head(ctx, servers[i%2].url+u.id) })
	}
	group.Wait()
	for i := range answers {
		require.NoError(t, errs[i])
		require.Equal(t, http.StatusOK, answers[i].status)
		require.Equal(t, 100<<10, answers[i].offset)
	}
	s.requireInterrupted(t)
	u.finish(t, servers[1].url, dir)
	requireClean(t, dir, u)
}

// One server is never without a request for the upload. The other one still gets its turn.
func TestBusyServerLetsOthersIn(t *testing.T) {
	dir := t.TempDir()
	busy, other := startServer(t, dir), startServer(t, dir)
	u := create(t, busy.url, content(3, 64<<10))

	// Only between requests: one that is cancelled still waits at the server.
	enough, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for enough.Err() == nil {
				_, _ = head(t.Context(), busy.url+u.id)
			}
		})
	}
	for range 20 {
		resume(t, other.url, u)
	}
	stop()
	group.Wait()
	u.finish(t, other.url, dir)
	requireClean(t, dir, u)
}
