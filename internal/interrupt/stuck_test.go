package interrupt_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

// stuckListener accepts connections on which a write of the server blocks after
// 200 KiB, as if the client took no more.
type stuckListener struct {
	net.Listener
	stuck chan struct{} // closed when a write blocks
	goOn  chan struct{}
}

func (l *stuckListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &stuckConn{Conn: conn, l: l}, err
}

type stuckConn struct {
	net.Conn
	l       *stuckListener
	written int
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if c.written < 200<<10 && c.written+len(p) >= 200<<10 {
		close(c.l.stuck)
		<-c.l.goOn
	}
	c.written += len(p)
	return c.Conn.Write(p)
}

// No deadline ends the server's write to an HTTP/2 connection from which the client takes
// nothing at all, nor what crypto/tls does when a write has failed.
func TestAbortWhileTheConnectionIsStuck(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1 TLS", "h2", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			l := &stuckListener{stuck: make(chan struct{}), goOn: make(chan struct{})}
			d := newDownload()
			served := make(chan struct{})
			s := serveOn(t, protocol, func(w http.ResponseWriter, r *http.Request) {
				context.AfterFunc(r.Context(), func() { close(served) })
				d.request <- interrupt.From(r.Context())
				_, err := w.Write(make([]byte, huge))
				d.failed <- err
			}, func(inner net.Listener) net.Listener {
				l.Listener = inner
				return l
			})
			goOn := sync.OnceFunc(func() { close(l.goOn) })
			t.Cleanup(goOn)
			res, err := s.client.Get(s.url)
			require.NoError(t, err)
			defer res.Body.Close()
			receive(t, l.stuck, "the connection does not block")
			receive(t, d.request, "the request").Abort()
			require.ErrorIs(t, receive(t, d.failed, "the write goes on"), http.ErrAbortHandler)
			goOn()
			receive(t, served, "the request goes on")
			_, err = io.Copy(io.Discard, res.Body)
			require.Error(t, err)
		})
	}
}

// slowWriter is a server's writer whose Write ends when the test says so.
type slowWriter struct {
	http.ResponseWriter
	entered, goOn chan struct{}
	deadlines     chan time.Time
	text          bytes.Buffer
}

func (w *slowWriter) Write(p []byte) (int, error) {
	close(w.entered)
	<-w.goOn
	return w.text.Write(p)
}

func (w *slowWriter) SetWriteDeadline(t time.Time) error {
	w.deadlines <- t
	return nil
}

func TestAbortLeavesAWriteBehind(t *testing.T) {
	slow := &slowWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{}), make(chan time.Time, 10), bytes.Buffer{}}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.ProtoMajor = 2
	q, w, r := interrupt.New(r.Context(), slow, r)
	failed, served := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(served)
		defer func() { recover() }()
		q.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			p := []byte("text")
			_, err := w.Write(p)
			copy(p, "oops") // as a caller may do after Write
			http.NewResponseController(w).SetWriteDeadline(time.Time{})
			failed <- err
		}), w, r)
	}()
	receive(t, slow.entered, "the write")
	q.Abort()
	require.ErrorIs(t, receive(t, failed, "the write goes on"), http.ErrAbortHandler)
	require.Eventually(t, func() bool {
		running := false
		q.Interrupt(io.EOF, func() { running = true })
		return !running
	}, hang, time.Millisecond)
	select {
	case <-served:
		t.Error("the server's writer is still in use")
	default:
	}
	close(slow.goOn)
	receive(t, served, "the request goes on")
	require.Equal(t, "text", slow.text.String())
	require.Len(t, slow.deadlines, 1, "only Abort may set one")
}
