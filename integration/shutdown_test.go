package integration_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server with 50 running uploads is told to end. It saves what it has, releases every lock
// before it exits, and a new server goes on with each upload where it stopped.
func TestGracefulShutdown(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	runs := make([]*running, 50)
	uploads := make([]*upload, len(runs))
	for i := range runs {
		uploads[i] = create(t, s.url, content(uint64(i), 256<<10))
		runs[i] = startRunning(t, s, uploads[i], i%2 == 0)
	}
	for i, r := range runs {
		await(t, "data of every upload", func() bool { return uploads[i].size(dir) >= r.first })
	}
	require.Zero(t, s.terminate(t), "exit code")
	left, err := strangers(dir, uploads...)
	require.NoError(t, err)
	require.Empty(t, left, "after the exit")

	next := startServer(t, dir)
	for i, r := range runs {
		sent := r.stop()
		offset := headOffset(t, next.url+uploads[i].id)
		if r.stalls {
			require.Equal(t, sent, offset, "bytes that had arrived are lost")
		}
		require.GreaterOrEqual(t, offset, r.first)
		require.LessOrEqual(t, offset, sent, "more than was sent")
		uploads[i].finish(t, next.url, dir)
	}
	require.Zero(t, next.terminate(t))
	requireClean(t, dir, uploads...)
}

// running is a PATCH under way. It stalls after its first bytes, or goes on sending.
type running struct {
	*stalled
	stalls bool
	first  int
	sent   chan int // the number of bytes sent in all, when it has ended
}

func startRunning(t *testing.T, s *server, u *upload, stalls bool) *running {
	t.Helper()
	r := &running{stalls: stalls, first: 50 << 10, sent: make(chan int, 1)}
	r.stalled = stall(t, s.url, u, 0, r.first)
	if stalls {
		r.sent <- r.first
		return r
	}
	go func() {
		sent := r.first
		defer func() { r.sent <- sent }()
		// One byte is kept back, so that it is still under way when the server ends.
		for sent < len(u.data)-1 {
			n := min(1<<10, len(u.data)-1-sent)
			sent += n
			if r.send(u.data[sent-n:sent]) != nil {
				return
			}
		}
	}()
	return r
}

// stop ends the client and returns how much it had sent at most.
func (r *running) stop() int {
	r.abort()
	return <-r.sent
}

func headOffset(t *testing.T, url string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a, err := head(ctx, url)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status)
	return a.offset
}
