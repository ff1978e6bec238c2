package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forServers runs test with one server, and with two that share a directory.
func forServers(t *testing.T, test func(t *testing.T, servers []*server), options ...option) {
	t.Helper()
	for n, name := range []string{"one server", "two servers"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			servers := make([]*server, n+1)
			for i := range servers {
				servers[i] = startServer(t, dir, options...)
			}
			test(t, servers)
		})
	}
}

// forProtocols does the same with each protocol.
func forProtocols(t *testing.T, test func(t *testing.T, p *peer, servers []*server)) {
	t.Helper()
	for _, protocol := range []string{http1, http1TLS, h2c, http2TLS} {
		t.Run(protocol, func(t *testing.T) {
			p := newPeer(t, protocol)
			forServers(t, func(t *testing.T, servers []*server) { test(t, p, servers) }, speaking(t, protocol))
		})
	}
}

// Many clients download parts of one upload, all slowly. HEAD is answered beside them, and
// DELETE ends them all: none of them may take what it got for all that it asked for.
func TestDownloadsShare(t *testing.T) {
	const part = 8 << 20
	forProtocols(t, func(t *testing.T, p *peer, servers []*server) {
		u := p.store(t, servers[0].url, content(1, 12<<20), 12<<20)
		downloads := make([]*download, 50)
		for i := range downloads {
			from := i * ((len(u.data) - part) / len(downloads))
			downloads[i] = p.slowly(t, servers[i%len(servers)].url, u, from, from+part)
		}
		requireRunning(t, downloads)

		took := make([]time.Duration, 20)
		for i := range took {
			took[i] = timed(t, p, http.MethodHead, servers[i%len(servers)].url+u.id, http.StatusOK, stuck)
		}
		requireRunning(t, downloads)
		slices.Sort(took)
		t.Logf("HEAD beside %d downloads: median %v, longest %v", len(downloads), took[len(took)/2], took[len(took)-1])

		t.Logf("DELETE among them: %v", timed(t, p, http.MethodDelete, servers[len(servers)-1].url+u.id, http.StatusNoContent, stuck))
		requireClean(t, servers[0].dir)
		requireCut(t, downloads)
		requireClean(t, servers[0].dir)
		for _, s := range servers {
			require.Zero(t, s.terminate(t))
		}
	})
}

// stuck is how long an answer may take that ought to take milliseconds. It is less than what
// crypto/tls waits for a client that takes nothing, which must not be seen here.
const stuck = 4 * time.Second

// timed returns how long the server took for its answer.
func timed(t testing.TB, p *peer, method, url string, status int, limit time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	a, err := p.request(ctx, method, url, nil)
	took := time.Since(start)
	require.NoError(t, err, method)
	require.Equal(t, status, a.status, "%s: %v", method, a)
	return took.Round(10 * time.Microsecond)
}

// What there is of an unfinished upload is downloaded by many when its next PATCH comes.
func TestPatchAmongDownloads(t *testing.T) {
	const stored = 10 << 20
	for _, protocol := range []string{http1, h2c} {
		t.Run(protocol, func(t *testing.T) {
			forServers(t, func(t *testing.T, servers []*server) {
				p, last := newPeer(t, protocol), servers[len(servers)-1]
				u := p.store(t, servers[0].url, content(2, stored+(1<<20)), stored)
				downloads := make([]*download, 20)
				for i := range downloads {
					downloads[i] = p.slowly(t, servers[i%len(servers)].url, u, 0, stored)
				}
				requireRunning(t, downloads)

				start := time.Now()
				patch := stall(t, last.url, u, stored, 1000)
				u.awaitSize(t, last.dir, stored+1000)
				t.Logf("PATCH among %d downloads: its data are on disk after %v", len(downloads), time.Since(start).Round(10*time.Microsecond))
				require.NoError(t, patch.send(u.data[stored+1000:]))
				a, err := patch.answer()
				require.NoError(t, err)
				require.Equal(t, http.StatusNoContent, a.status, "%v", a)
				u.requireComplete(t, last.dir)
				requireCut(t, downloads)

				whole := p.slowly(t, servers[0].url, u, 0, len(u.data))
				close(whole.hurry)
				require.NoError(t, whole.wait(t))
				requireClean(t, last.dir, u)
			}, speaking(t, protocol))
		})
	}
}

// A client that has lost its connection asks where to go on: a PATCH of the upload ends for
// it, whether it stalls or not. Readers share with each other, not with it.
func TestReadersInterruptPatch(t *testing.T) {
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		for _, kind := range []string{"stalled", "healthy"} {
			t.Run(fmt.Sprintf("%s, %s PATCH", method, kind), func(t *testing.T) {
				forServers(t, func(t *testing.T, servers []*server) {
					to := servers[len(servers)-1]
					u := create(t, servers[0].url, content(3, 8<<20))
					s := stall(t, servers[0].url, u, 0, 100<<10)
					u.awaitSize(t, to.dir, 100<<10)
					if kind == "healthy" {
						trickle(t, s, u.data[100<<10:])
					}
					t.Logf("%s: %v", method, timed(t, newPeer(t, http1), method, to.url+u.id, http.StatusOK, hang))
					s.requireInterrupted(t)
					offset := headOffset(t, to.url+u.id)
					require.GreaterOrEqual(t, offset, 100<<10)
					require.Less(t, offset, len(u.data), "the PATCH was complete already")
					u.finish(t, to.url, to.dir)
					requireClean(t, to.dir, u)
				}, args("-share-reads=true"))
			})
		}
	}
}

// trickle sends more of the body, a little at a time, until the connection ends.
func trickle(t *testing.T, s *stalled, data []byte) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for ; len(data) > 1000 && s.send(data[:1000]) == nil; data = data[1000:] {
			<-ticker.C
		}
	}()
	t.Cleanup(func() {
		s.abort()
		<-stopped
	})
}

// Without -share-reads a download has the lock alone, as with tusd's own locker.
func TestShareReadsCanBeTurnedOff(t *testing.T) {
	s := startServer(t, t.TempDir(), args("-share-reads=false", "-acquire-lock-timeout=200ms"))
	p := newPeer(t, http1)
	u := p.store(t, s.url, content(4, 12<<20), 12<<20)
	downloads := []*download{p.slowly(t, s.url, u, 0, len(u.data))}
	requireRunning(t, downloads)
	a, err := p.request(t.Context(), http.MethodGet, s.url+u.id, nil)
	require.NoError(t, err)
	require.Equal(t, "ERR_LOCK_TIMEOUT", a.code, "%v", a)
	requireRunning(t, downloads)
	close(downloads[0].hurry)
	require.NoError(t, downloads[0].wait(t))
	requireClean(t, s.dir, u)
}
