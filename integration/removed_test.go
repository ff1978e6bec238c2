package integration_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The directory goes away under a running server, with an upload in it that stalls, and comes
// back. That upload's request is ended, and new ones work.
func TestDirectoryIsMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uploads")
	require.NoError(t, os.Mkdir(dir, 0o777))
	s := startServer(t, dir)
	for range 3 {
		u := create(t, s.url, content(1, 512<<10))
		half := len(u.data) / 2
		stalled := stall(t, s.url, u, 0, half)
		u.awaitSize(t, dir, half)
		require.NoError(t, os.RemoveAll(dir))
		stalled.requireInterrupted(t)

		a, err := head(t.Context(), s.url+u.id)
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, a.status, "without a directory: %v", a)
		require.NoError(t, os.Mkdir(dir, 0o777))
		a, err = head(t.Context(), s.url+u.id)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, a.status, "%v", a)
		requireClean(t, dir, handOver(t, dir, s.url, s.url))
	}
}
