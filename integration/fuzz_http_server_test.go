package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// stingy is how long the server of FuzzHTTP waits for anything.
const stingy = 100 * time.Millisecond

// fuzzed is a tus server in this process.
type fuzzed struct {
	addr    string
	base    string // holds the upload directory and what is beside it
	dir     string
	unnamed string // an upload whose ID no client can know
	locker  filelocker.FileLocker

	dialed                atomic.Int64
	connected, terminated atomic.Int64 // as the server sees it
	timeouts              atomic.Int64 // of locks

	mu      sync.Mutex
	faults  []string
	holders map[string][]bool // by ID, whether they read
}

func serveFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	s := &fuzzed{base: f.TempDir(), unnamed: fmt.Sprintf("unnamed-%x", content(uint64(os.Getpid()), 16)), holders: make(map[string][]bool)}
	s.dir = filepath.Join(s.base, "uploads")
	s.locker = filelocker.New(s.dir)
	composer := handler.NewStoreComposer()
	filestore.New(s.dir).UseIn(composer)
	composer.UseLocker(noting{s.locker, s})
	uploads, err := handler.NewHandler(handler.Config{
		BasePath: "/files/", StoreComposer: composer, MaxSize: 1 << 20, EnableExperimentalProtocol: true,
		AcquireLockTimeout: stingy, NetworkTimeout: stingy, GracefulRequestCompletionTimeout: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(f, err)
	// No http.ServeMux, which would clean the paths.
	server := httptest.NewUnstartedServer(s.watch(filelocker.ShareReads(http.StripPrefix("/files/", uploads))))
	server.Config.ReadTimeout = stingy
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.connected.Add(1)
		case http.StateClosed:
			s.terminated.Add(1)
		}
	}
	server.Start()
	f.Cleanup(server.Close)
	s.addr = server.Listener.Addr().String()
	return s
}

// watch notes what is wrong with the answers of next.
func (s *fuzzed) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &recorded{ResponseWriter: w}
		if r.Body != http.NoBody {
			a.body = &failing{ReadCloser: r.Body}
			r.Body = a.body
		}
		method, path := r.Method, r.URL.Path
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler {
					s.fault("panic in %s %q: %v", method, path, p)
				}
				panic(http.ErrAbortHandler)
			}
			if a.status >= 500 && !s.documented(method, a) {
				s.fault("%s %q: %d %s", method, path, a.status, a.text)
			}
		}()
		reads := method == http.MethodGet || method == http.MethodHead
		next.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), readsKey{}, reads)))
	})
}

// documented says whether an answer is a failure that tusd documents. HEAD does not tell. What
// net/http finds wrong with a body is not the client's fault to tusd, so that is no news either.
func (s *fuzzed) documented(method string, a *recorded) bool {
	code, why, _ := strings.Cut(a.text, ":")
	switch code {
	case "ERR_LOCK_TIMEOUT", "ERR_READ_TIMEOUT", "ERR_CONNECTION_RESET":
		return true
	case "":
		return method == http.MethodHead && s.timeouts.Load() > 0
	}
	return a.body != nil && a.body.failedWith(why)
}

func (s *fuzzed) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// wrong is what was noted since it was asked for last.
func (s *fuzzed) wrong() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := s.faults
	s.faults = nil
	s.timeouts.Store(0)
	return faults
}

// recorded is an answer of which the status and the beginning of the text are kept.
type recorded struct {
	http.ResponseWriter
	status int
	text   string
	body   *failing // of the request; nil if there is none
}

func (a *recorded) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *recorded) WriteHeader(status int) {
	if a.status < 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *recorded) Write(b []byte) (int, error) {
	if a.text == "" {
		a.text = string(b[:min(len(b), 200)])
	}
	return a.ResponseWriter.Write(b)
}

// failing is a body whose first error is kept.
type failing struct {
	io.ReadCloser
	err atomic.Pointer[error]
}

func (b *failing) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (b *failing) failedWith(text string) bool {
	err := b.err.Load()
	return err != nil && *err != io.EOF && strings.TrimSpace(text) == (*err).Error()
}

// converse has the two clients speak, and returns when the server is done with them.
func (s *fuzzed) converse(t *testing.T, first, second []byte, how uint8) {
	t.Helper()
	through := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { s.send(first, how%endings, through) })
	both.Go(func() {
		defer close(through)
		if len(second) > 0 {
			s.send(second, how/endings%endings, nil)
		}
	})
	both.Wait()
	s.await(t, "the end of the connections", func() bool { return s.terminated.Load() == s.dialed.Load() })
}

// await is what the function of that name is, for what is there almost at once.
func (s *fuzzed) await(t *testing.T, what string, ok func() bool) {
	for range 20 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
	await(t, what, ok)
}

const lastRequest = "OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// send sends what one client has to say and reads what comes. That the server ends the
// connection at any time is as good; that it does not end it is not.
func (s *fuzzed) send(said []byte, ending uint8, through <-chan struct{}) {
	s.dialed.Add(1)
	n := s.connected.Load()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.fault("dial: %v", err)
		return
	}
	conn := c.(*net.TCPConn)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(hang))
	switch ending {
	case endsHalf:
		_, _ = conn.Write(said)
		_ = conn.CloseWrite()
	case endsReset:
		_, _ = conn.Write(said)
		for deadline := time.Now().Add(hang); s.connected.Load() <= n && time.Now().Before(deadline); {
			time.Sleep(50 * time.Microsecond) // a connection that was not accepted may never be seen
		}
		_ = conn.SetLinger(0)
		return
	case endsLate:
		middle := len(said)
		if through != nil {
			middle = max(0, middle-2)
		}
		_, _ = conn.Write(said[:middle])
		if through != nil {
			<-through
		}
		_, _ = conn.Write(append(said[middle:len(said):len(said)], lastRequest...))
	default:
		_, _ = conn.Write(append(said[:len(said):len(said)], lastRequest...))
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		s.fault("the connection does not end: %v", err)
	}
}
