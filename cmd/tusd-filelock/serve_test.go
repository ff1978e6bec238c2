package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestShutdownSavesAStalledUpload(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := start(t)
			url, file := s.create("10")
			r, w := io.Pipe()
			defer w.Close()
			answer := make(chan *http.Response, 1)
			go func() {
				answer <- s.do(http.MethodPatch, url, r, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
			}()
			_, err := io.WriteString(w, "half")
			require.NoError(t, err)
			waitForSize(t, file, 4)

			s.signals <- sig
			require.Equal(t, exitOK, s.wait())
			requireInterrupted(t, answer, http.StatusServiceUnavailable, "ERR_SERVER_SHUTDOWN")
			require.Equal(t, "half", readFile(t, file))
			s.requireNoLocks()
			require.Empty(t, s.err.String())
		})
	}
}

func TestStalledUploadIsHandedOver(t *testing.T) {
	s := start(t)
	url, file := s.create("10")
	r, w := io.Pipe()
	defer w.Close()
	answer := make(chan *http.Response, 1)
	go func() {
		answer <- s.do(http.MethodPatch, url, r, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	}()
	_, err := io.WriteString(w, "half")
	require.NoError(t, err)
	waitForSize(t, file, 4)

	require.Equal(t, "4", s.do(http.MethodHead, url, nil).Header.Get("Upload-Offset"))
	requireInterrupted(t, answer, http.StatusBadRequest, "ERR_UPLOAD_INTERRUPTED")
	res := s.do(http.MethodPatch, url, strings.NewReader("second"), "Upload-Offset", "4", "Content-Type", "application/offset+octet-stream")
	require.Equal(t, http.StatusNoContent, res.StatusCode)
	require.Equal(t, "halfsecond", bodyOf(t, s.do(http.MethodGet, url, nil)))
	require.Equal(t, exitOK, s.stop())
	s.requireNoLocks()
}

func TestShutdownTimeoutClosesConnections(t *testing.T) {
	s := start(t, "-shutdown-timeout", "10ms")
	s.startDownload()
	require.Equal(t, exitFailure, s.stop())
	require.Equal(t, "tusd-filelock: shutdown timeout of 10ms passed, requests cut off: 1\n", s.err.String())
	s.requireNoLocks()
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	running := newRequests()
	entered, done := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(running.track(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-done
	})))
	failed := make(chan error, 1)
	go func() {
		_, err := http.Get(server.URL)
		failed <- err
	}()
	<-entered
	err := shutDown(time.Millisecond, server.Config, running)
	require.EqualError(t, err, "shutdown timeout of 1ms passed, requests cut off: 1, of these still running: 1")
	require.Error(t, <-failed)
	close(done)
	require.NoError(t, running.wait(t.Context()))
	server.Close()
}

func TestSecondSignalExits(t *testing.T) {
	// A process of its own, because it is left in the middle of its work.
	exe, err := os.Executable()
	require.NoError(t, err)
	s := &testServer{t: t, dir: t.TempDir(), out: newOutput(), err: newOutput()}
	cmd := exec.Command(exe, "-host", "127.0.0.1", "-port", "0", "-upload-dir", s.dir, "-shutdown-timeout", "1h")
	cmd.Args[0] = program
	cmd.Stdout, cmd.Stderr = s.out, s.err
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); http.DefaultClient.CloseIdleConnections() })
	s.url = s.out.find(t, `You can now upload files to: ([^\s"]+)`)
	s.startDownload()

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	s.out.find(t, "shutting down")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, exitFailure, cmd.ProcessState.ExitCode())
	require.Equal(t, "tusd-filelock: received signal \"interrupt\" again: exiting at once, requests running: 1\n", s.err.String())
}

func TestRunTimeFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("content"), 0o644))

	for _, c := range []struct {
		name, says string
		args       []string
	}{
		{"port in use", taken.Addr().String(), []string{"-port", port}},
		{"upload directory is a file", file, []string{"-upload-dir", file}},
		{"socket is a file", file, []string{"-unix-sock", file}},
		{"no certificate", file + ".pem", []string{"-tls-certificate", file + ".pem", "-tls-key", file}},
		{"bad certificate", file, []string{"-tls-certificate", file, "-tls-key", file}},
		{"no plugin", file + ".plugin", []string{"-hooks-plugin", file + ".plugin"}},
		{"no gRPC certificate", file + ".pem", []string{"-hooks-grpc", "localhost:1", "-hooks-grpc-secure", "-hooks-grpc-server-tls-certificate", file + ".pem"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, complaint bytes.Buffer
			args := append([]string{"-host", "127.0.0.1", "-port", "0", "-upload-dir", t.TempDir()}, c.args...)
			require.Equal(t, exitFailure, run(args, stdio{&out, &complaint}, nil))
			require.Regexp(t, `^tusd-filelock: [^\n]+\n$`, complaint.String())
			require.Contains(t, complaint.String(), c.says)
			require.NotContains(t, out.String(), "You can now upload")
		})
	}
	require.Equal(t, "content", readFile(t, file))
}

func TestUnixSocket(t *testing.T) {
	// A path of a socket must be short, so t.TempDir may be too deep.
	dir, err := os.MkdirTemp("", "sock")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	stale, err := net.Listen("unix", path)
	require.NoError(t, err)
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	require.FileExists(t, path)

	s := startOnSocket(t, path)
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	res := do(t, client, http.MethodPost, "http://socket/files/", strings.NewReader("hello"), "Upload-Length", "5", "Content-Type", "application/offset+octet-stream")
	require.Equal(t, http.StatusCreated, res.StatusCode)
	require.Regexp(t, "^http://socket/files/", res.Header.Get("Location"))

	var complaint bytes.Buffer
	require.Equal(t, exitFailure, run([]string{"-unix-sock", path, "-upload-dir", s.dir}, stdio{io.Discard, &complaint}, nil))
	require.Contains(t, complaint.String(), path+": address already in use")

	client.CloseIdleConnections()
	require.Equal(t, exitOK, s.stop())
	require.NoFileExists(t, path)
}

func startOnSocket(t *testing.T, path string) *testServer {
	s := start(t, "-unix-sock", path)
	require.Equal(t, "/files/", s.url)
	return s
}

func TestGreetingMetricsAndProfiles(t *testing.T) {
	t.Setenv("TUSD_PPROF_AUTH", "user:secret")
	s := start(t, "-expose-pprof")
	root := strings.TrimSuffix(s.url, "/files/")
	require.Contains(t, bodyOf(t, s.do(http.MethodGet, root, nil)), "/files/")
	s.create("10")

	metrics := bodyOf(t, s.do(http.MethodGet, root+"/metrics", nil))
	for _, line := range []string{
		"tusd_uploads_created 1", "tusd_connections_open ", `tusd_hook_errors_total{hooktype="pre-create"} 0`,
		`tusd_hook_invocations_total{hooktype="post-finish"}`, "go_goroutines ", "promhttp_metric_handler_requests_total",
	} {
		require.Contains(t, metrics, line)
	}

	for _, name := range []string{"", "cmdline", "goroutine", "fgprof?seconds=1"} {
		require.Equal(t, http.StatusUnauthorized, s.do(http.MethodGet, root+"/debug/pprof/"+name, nil).StatusCode)
		authorized := strings.Replace(root, "http://", "http://user:secret@", 1)
		require.Equal(t, http.StatusOK, s.do(http.MethodGet, authorized+"/debug/pprof/"+name, nil).StatusCode)
	}
	require.Equal(t, http.StatusNotFound, s.do(http.MethodGet, strings.Replace(root, "http://", "http://user:secret@", 1)+"/debug/pprof/none", nil).StatusCode)
}

func TestFilePermissionsAndBasePath(t *testing.T) {
	s := start(t, "-base-path", "/up", "-dir-perms", "700", "-file-perms", "600", "-max-size", "10", "-disable-download")
	require.True(t, strings.HasSuffix(s.url, "/up/"))
	_, file := s.create("10")
	s.do(http.MethodPost, strings.TrimSuffix(s.url, "/"), nil, "Upload-Length", "1")
	for name, mode := range map[string]os.FileMode{s.dir: 0o700 | os.ModeDir, file: 0o600, file + ".info": 0o600} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), name)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, s.do(http.MethodPost, s.url, nil, "Upload-Length", "11").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, s.do(http.MethodGet, s.url+"x", nil).StatusCode)
}

func TestCORS(t *testing.T) {
	s := start(t, "-cors-allow-origin", `^https://good\.example$`, "-cors-allow-headers", "X-Mine", "-cors-expose-headers", "X-Shown",
		"-cors-allow-methods", "PUT", "-cors-max-age", "7", "-cors-allow-credentials")
	res := s.do(http.MethodOptions, s.url, nil, "Origin", "https://good.example")
	require.Regexp(t, ", X-Mine$", res.Header.Get("Access-Control-Allow-Headers"))
	require.Regexp(t, ", PUT$", res.Header.Get("Access-Control-Allow-Methods"))
	require.Equal(t, "7", res.Header.Get("Access-Control-Max-Age"))
	require.Equal(t, "true", res.Header.Get("Access-Control-Allow-Credentials"))
	res = s.do(http.MethodHead, s.url+"x", nil, "Origin", "https://good.example")
	require.Regexp(t, ", X-Shown$", res.Header.Get("Access-Control-Expose-Headers"))
	require.Equal(t, http.StatusForbidden, s.do(http.MethodOptions, s.url, nil, "Origin", "https://bad.example").StatusCode)
}

func TestJSONLog(t *testing.T) {
	s := start(t, "-log-format", "json", "-verbose")
	s.create("10")
	require.Equal(t, exitOK, s.stop())
	for line := range strings.Lines(s.out.String()) {
		var record struct{ Time, Level, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		require.NotEmpty(t, record.Time)
		require.NotEmpty(t, record.Level)
		require.NotEmpty(t, record.Msg)
	}
}

func TestQuietStart(t *testing.T) {
	dir := t.TempDir()
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	var out, complaint bytes.Buffer
	require.Equal(t, exitOK, run([]string{"-host", "127.0.0.1", "-port", "0", "-upload-dir", dir, "-show-startup-logs=false"}, stdio{&out, &complaint}, signals))
	require.NotContains(t, out.String(), "Using")
	require.Contains(t, out.String(), "Shutdown complete.")
	require.Empty(t, complaint.String())
}
