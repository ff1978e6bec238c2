package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client drops its connection in the middle of a PATCH and deletes the upload at once: the
// server may not even have noticed, and yet there is no 423, no 500 and nothing left.
func TestAbortThenDelete(t *testing.T) {
	const rounds = 500
	dir := t.TempDir()
	s := startServer(t, dir)
	abortAndDelete(t, s, 0)
	descriptors := openDescriptors(t, s)

	for i := range rounds {
		abortAndDelete(t, s, i)
	}
	requireClean(t, dir)
	await(t, "all descriptors of the server closed", func() bool {
		return openDescriptors(t, s) <= descriptors
	})
	require.Zero(t, s.terminate(t))
	requireClean(t, dir)
}

// abortAndDelete breaks off at another point of the PATCH in each round.
func abortAndDelete(t *testing.T, s *server, round int) {
	t.Helper()
	u := create(t, s.url, content(uint64(round), 64<<10))
	sent := 0
	if round%4 != 0 {
		sent = round % 7 * (9 << 10)
	}
	p := stall(t, s.url, u, 0, sent)
	if round%2 == 1 {
		u.awaitSize(t, s.dir, sent)
	}
	p.abort()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a, err := request(ctx, http.MethodDelete, s.url+u.id, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, a.status, "round %d: %v", round, a)
}

// openDescriptors counts them where the system lists them.
func openDescriptors(t *testing.T, s *server) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	require.NoError(t, err)
	return len(entries)
}
