package integration_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hookCall is what a tus server tells a hook.
type hookCall struct {
	Type  string
	Event struct {
		Upload struct {
			ID      string
			Storage map[string]string
		}
	}
	done <-chan struct{} // closed when the server does not wait for the answer any more
}

// hookReply is what a hook can say; the zero value lets everything happen.
type hookReply struct{ RejectTermination bool }

// hooked has a server call handle for these events, and wait for it as long as it takes.
func hooked(t testing.TB, events string, handle func(hookCall) hookReply) option {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := hookCall{done: r.Context().Done()}
		body, err := io.ReadAll(r.Body) // else nobody notices that the server goes
		if err == nil {
			err = json.Unmarshal(body, &call)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(handle(call))
	}))
	t.Cleanup(s.Close)
	return args("-hooks-http", s.URL, "-hooks-enabled-events", events, "-hooks-http-timeout", "10m", "-hooks-http-retry", "0")
}

// said waits until the process has printed a line that contains all the parts.
func (p *process) said(t testing.TB, parts ...string) (line string) {
	t.Helper()
	return p.saidAfter(t, 0, parts...)
}

// saidAfter does not look at what was printed first, up to a length of the output.
func (p *process) saidAfter(t testing.TB, from int, parts ...string) (line string) {
	t.Helper()
	await(t, strings.Join(parts, " ... ")+" in the log of "+p.name, func() bool {
		for line = range strings.Lines(p.out.String()[from:]) {
			if containsAll(line, parts) {
				return true
			}
		}
		return false
	})
	return strings.TrimSpace(line)
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// A pre-finish hook that downloads the upload waits for a request that waits for the hook
// (tusd#1133). Nothing can be done about that, but the log says who is in the way.
func TestHookThatDownloadsItsUpload(t *testing.T) {
	forServers(t, func(t *testing.T, servers []*server) {
		dir := servers[0].dir
		download := make(chan answer, 1)
		other := servers[len(servers)-1]
		hook := hooked(t, "pre-finish", func(call hookCall) hookReply {
			a, _ := request(context.Background(), http.MethodGet, other.url+call.Event.Upload.ID, nil)
			download <- a
			return hookReply{}
		})
		s := startServer(t, dir, hook, args("-acquire-lock-timeout", "2s"))
		if len(servers) == 1 {
			other = s
		}
		u := create(t, s.url, content(1, 100<<10))
		patched := make(chan answer, 1)
		go func() {
			a, _ := patch(context.Background(), s.url+u.id, 0, u.data)
			patched <- a
		}()

		here := []string{"id=" + u.id, `request="GET /files/` + u.id + `"`}
		message, end := `"still waiting for a lock of this process"`, `"timed out waiting for a lock of this process"`
		if other == s {
			here = append(here, `held_by="PATCH /files/`+u.id+`"`)
		} else {
			message, end = `"still waiting for a lock"`, `"timed out waiting for a lock"`
			host, err := os.Hostname()
			require.NoError(t, err)
			here = append(here, "host="+host, "mode=exclusive")
		}
		here = append(here, "pid="+strconv.Itoa(s.cmd.Process.Pid)+" ", "since=")
		t.Log(other.said(t, append(here, "event="+message)...))
		require.Empty(t, download, "it was to be in the log while the hook waits")
		t.Log(other.said(t, append(here, "level=WARN", "event="+end)...))
		require.Equal(t, "ERR_LOCK_TIMEOUT", (<-download).code)
		a := <-patched
		require.Equal(t, http.StatusNoContent, a.status, "%v", a)
		u.requireComplete(t, dir)
		requireClean(t, dir, u)
	}, args("-acquire-lock-timeout", "2s"))
}

// Where requests wait for locks longer than tusd lets an interrupted request go on, it is the
// hook that is given up. The data are stored, but the client is told of an error.
func TestHookThatWaitsForTooLong(t *testing.T) {
	var s *server
	download := make(chan answer, 1)
	hook := hooked(t, "pre-finish", func(call hookCall) hookReply {
		a, _ := request(context.Background(), http.MethodGet, s.url+call.Event.Upload.ID, nil)
		download <- a
		return hookReply{}
	})
	s = startServer(t, t.TempDir(), hook, args("-acquire-lock-timeout", "10m", "-request-completion-timeout", "1s"))
	u := create(t, s.url, content(1, 100<<10))
	a, err := patch(t.Context(), s.url+u.id, 0, u.data)
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, a.status, "%v", a)
	require.Equal(t, http.StatusOK, (<-download).status)
	u.requireComplete(t, s.dir)
	requireClean(t, s.dir, u)
}

// The ways that work: a pre-finish hook reads the file, a post-finish hook downloads.
func TestHooksThatGetTheirUpload(t *testing.T) {
	const rounds = 10
	dir := t.TempDir()
	got := make(chan []byte, 1)
	var s *server
	hook := hooked(t, "pre-finish,post-finish", func(call hookCall) hookReply {
		var data []byte
		if call.Type == "pre-finish" {
			data, _ = os.ReadFile(call.Event.Upload.Storage["Path"])
		} else if resp, err := http.Get(s.url + call.Event.Upload.ID); err == nil {
			data, _ = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		got <- data
		return hookReply{}
	})
	s = startServer(t, dir, hook, args("-acquire-lock-timeout", "10m"))
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	uploads := make([]*upload, rounds)
	for i := range uploads {
		u := create(t, s.url, content(uint64(i), 100<<10))
		uploads[i] = u
		patched := make(chan answer, 1)
		go func() {
			a, _ := patch(context.Background(), s.url+u.id, 0, u.data)
			patched <- a
		}()
		require.Equal(t, digest(u.data), digest(<-got), "pre-finish")
		require.Equal(t, digest(u.data), digest(<-got), "post-finish")
		a := <-patched
		require.Equal(t, http.StatusNoContent, a.status, "%v", a)
	}
	requireClean(t, dir, uploads...)
}

// A hook that is a program finds the file by the upload's ID.
func TestFileHookReadsItsUpload(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		need(t, "/bin/sh", false)
	}
	dir, hooks := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\nset -e\ncp \"" + dir + "/$TUS_ID\" copy\n"
	require.NoError(t, os.WriteFile(filepath.Join(hooks, "pre-finish"), []byte(script), 0o755))
	s := startServer(t, dir, args("-hooks-dir", hooks, "-hooks-enabled-events", "pre-finish"))
	u := create(t, s.url, content(5, 100<<10))
	u.finish(t, s.url, dir)
	require.Equal(t, digest(u.data), fileDigest(t, filepath.Join(hooks, "copy")))
}
