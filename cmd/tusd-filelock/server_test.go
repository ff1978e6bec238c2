package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hang is when a test gives up waiting; nothing is expected to take that long.
const hang = 30 * time.Second

// testServer is the program, run inside the test.
type testServer struct {
	t       *testing.T
	url     string // of the uploads
	dir     string
	signals chan os.Signal
	status  chan int
	out     *output
	err     *output
}

// start runs the program on a free port with the given flags added, and waits
// for its last start-up line. It is stopped when the test ends.
func start(t *testing.T, flags ...string) *testServer {
	t.Helper()
	s := &testServer{
		t:       t,
		dir:     filepath.Join(t.TempDir(), "uploads"),
		signals: make(chan os.Signal, 2),
		status:  make(chan int, 1),
		out:     newOutput(),
		err:     newOutput(),
	}
	args := append([]string{"-host", "127.0.0.1", "-port", "0", "-upload-dir", s.dir, "-request-completion-timeout", "1ms"}, flags...)
	go func() {
		s.status <- run(args, stdio{s.out, s.err}, s.signals)
		s.out.close()
	}()
	s.url = s.out.find(t, `You can now upload files to: ([^\s"]+)`)
	t.Cleanup(func() { s.stop() })
	return s
}

// stop asks the program to end and returns its exit status; or, when it has
// been stopped before, -1.
func (s *testServer) stop() int {
	if s.status == nil {
		return -1
	}
	s.signals <- syscall.SIGTERM
	return s.wait()
}

func (s *testServer) wait() int {
	s.t.Helper()
	select {
	case status := <-s.status:
		s.status = nil
		http.DefaultClient.CloseIdleConnections()
		return status
	case <-time.After(hang):
		require.FailNow(s.t, "the server does not end", s.out.String())
		return -1
	}
}

// create makes an upload of size bytes and returns its URL and its file.
func (s *testServer) create(size string) (url, file string) {
	s.t.Helper()
	res := s.do(http.MethodPost, s.url, nil, "Upload-Length", size)
	require.Equal(s.t, http.StatusCreated, res.StatusCode)
	url = res.Header.Get("Location")
	return url, filepath.Join(s.dir, url[strings.LastIndex(url, "/")+1:])
}

// do sends a tus request with headers given as names and values.
func (s *testServer) do(method, url string, body io.Reader, headers ...string) *http.Response {
	s.t.Helper()
	return do(s.t, http.DefaultClient, method, url, body, headers...)
}

func do(t *testing.T, client *http.Client, method, url string, body io.Reader, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	req.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	require.NoError(t, err)
	read, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(read))
	return res
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

// requireNoLocks fails if the upload directory holds a lock or a request for one.
func (s *testServer) requireNoLocks() {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	require.NoError(s.t, err)
	for _, e := range entries {
		require.NotRegexp(s.t, `\.(lock|stop)|^\.`, e.Name())
	}
}

// output keeps what is written to it and wakes whoever waits for more.
type output struct {
	mu     sync.Mutex
	text   strings.Builder
	closed bool
	more   chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.more)
	o.more = make(chan struct{})
	return len(p), nil
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	close(o.more)
	o.more = make(chan struct{})
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// find waits for a match of the expression and returns its first group.
func (o *output) find(t *testing.T, expression string) string {
	t.Helper()
	re := regexp.MustCompile(expression + `[^\n]*\n`)
	deadline := time.After(hang)
	for {
		o.mu.Lock()
		text, closed, more := o.text.String(), o.closed, o.more
		o.mu.Unlock()
		if match := re.FindStringSubmatch(text); len(match) > 1 {
			return match[1]
		} else if match != nil {
			return match[0]
		}
		require.False(t, closed, "the server ended without %q:\n%s", expression, text)
		select {
		case <-more:
		case <-deadline:
			require.FailNow(t, "no such output", "%q in\n%s", expression, text)
		}
	}
}
