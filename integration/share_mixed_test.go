package integration_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// tusd's own locker makes a download hold the lock alone and never interrupts it, so that a
// second reader ends in an error (tusd#1356, tusd#984, tusd#466).
func TestSecondReader(t *testing.T) {
	for name, test := range map[string]struct {
		options []option
		status  int
		code    string
	}{
		"ours":  {nil, http.StatusPartialContent, ""},
		"stock": {[]option{stock()}, http.StatusInternalServerError, "ERR_LOCK_TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, t.TempDir(), append(test.options, args("-acquire-lock-timeout", "1s"))...)
			p := newPeer(t, http1)
			u := p.store(t, s.url, content(1, 12<<20), 12<<20)
			first := p.slowly(t, s.url, u, 0, len(u.data))
			requireRunning(t, []*download{first})
			a, err := p.request(t.Context(), http.MethodGet, s.url+u.id, nil, "Range", "bytes=0-9")
			require.NoError(t, err)
			require.Equal(t, test.code, a.code, "%v", a)
			require.Equal(t, test.status, a.status, "%v", a)
			requireRunning(t, []*download{first})
			close(first.hurry)
			require.NoError(t, first.wait(t))
			requireClean(t, s.dir, u)
		})
	}
}

// Downloads at ours are a held lock to stock tusd. Its polling for the lock ends them, for
// whatever method: to it they are a lock that somebody has alone.
func TestStockAmongDownloads(t *testing.T) {
	for name, options := range map[string][]option{
		"asks every 50 ms":        {stock()},
		"asks every 2 s, default": {stock(), args("-filelock-holder-poll-interval=5s", "-filelock-acquirer-poll-interval=2s")},
	} {
		for _, method := range []string{http.MethodHead, http.MethodDelete} {
			t.Run(name+", "+method, func(t *testing.T) {
				t.Parallel() // mostly stock tusd's waiting
				dir := t.TempDir()
				ours, old := startServer(t, dir), startServer(t, dir, options...)
				p := newPeer(t, http1)
				u := p.store(t, ours.url, content(2, 12<<20), 12<<20)
				downloads := make([]*download, 5)
				for i := range downloads {
					downloads[i] = p.slowly(t, ours.url, u, 0, len(u.data))
				}
				requireRunning(t, downloads)
				status := map[string]int{http.MethodHead: http.StatusOK, http.MethodDelete: http.StatusNoContent}[method]
				t.Logf("%s at stock tusd: %v", method, timed(t, p, method, old.url+u.id, status, hang))
				requireCut(t, downloads)
				if method == http.MethodDelete {
					requireClean(t, dir)
					return
				}
				requireClean(t, dir, u)
			})
		}
	}
}

// A download at stock tusd keeps ours out until it ends, whatever they want. Nobody is robbed,
// and the log says whose it is.
func TestDownloadAtStock(t *testing.T) {
	dir := t.TempDir()
	old, ours := startServer(t, dir, stock()), startServer(t, dir, args("-acquire-lock-timeout", "500ms"))
	patient := startServer(t, dir)
	p := newPeer(t, http1)
	u := p.store(t, ours.url, content(3, 12<<20), 12<<20)
	first := p.slowly(t, old.url, u, 0, len(u.data))
	requireRunning(t, []*download{first})
	for _, method := range readAndDelete {
		a, err := p.request(t.Context(), method, ours.url+u.id, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, a.status, "%s: %v", method, a)
		t.Log(ours.said(t, `event="timed out waiting for a lock"`, requested(method, u), "pid="+strconv.Itoa(old.cmd.Process.Pid)))
	}
	requireRunning(t, []*download{first})

	answered := make(chan answer, 1)
	go func() {
		a, _ := head(context.Background(), patient.url+u.id)
		answered <- a
	}()
	patient.said(t, `event="still waiting for a lock"`, requested(http.MethodHead, u))
	require.Empty(t, answered)
	close(first.hurry)
	require.NoError(t, first.wait(t))
	a := <-answered
	require.Equal(t, http.StatusOK, a.status, "%v", a)
	requireClean(t, dir, u)
}
