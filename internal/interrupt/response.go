package interrupt

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// maxDetached is how much of a write is copied and handed to the server at once.
const maxDetached = 32 << 10

// responseWriter keeps writes and deadlines away from responses that were aborted or have
// ended, and from extending the deadline that an interruption has set.
type responseWriter struct {
	http.ResponseWriter
	q         *Request
	control   http.ResponseController
	http1     bool
	http10    bool
	openEnded bool // HTTP/1 with a body of unknown length
	detach    bool // no deadline is sure to end a write
	buf       []byte
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader closes the connection after a body that exceeded its limit, which
// http.MaxBytesReader can only do to the server's own writer.
func (w *responseWriter) WriteHeader(status int) {
	if w.q.aborted.Load() {
		return
	}
	if w.openEnded && status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (n int, err error) {
	if !w.detach {
		err = w.attached(func() (err error) {
			n, err = w.ResponseWriter.Write(p)
			return err
		})
		return n, err
	}
	for {
		part := p[n:min(n+maxDetached, len(p))]
		if err := w.writePart(part); err != nil {
			return n, err
		}
		if n += len(part); n == len(p) {
			return n, nil
		}
	}
}

func (w *responseWriter) writePart(p []byte) error {
	// The caller may change p when Write has returned, and after an Abort that is before the
	// server is done with it.
	if !w.q.aborted.Load() {
		w.buf = append(w.buf[:0], p...)
	}
	return w.detached(func() error {
		_, err := w.ResponseWriter.Write(w.buf)
		return err
	})
}

// ReadFrom leaves the way open for sendfile(2).
func (w *responseWriter) ReadFrom(src io.Reader) (n int64, err error) {
	if w.detach {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	err = w.attached(func() (err error) {
		n, err = io.Copy(w.ResponseWriter, src)
		return err
	})
	return n, err
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { w.FlushError() }

// FlushError implements what http.ResponseController asks for.
func (w *responseWriter) FlushError() error {
	if w.detach {
		return w.detached(w.control.Flush)
	}
	return w.attached(w.control.Flush)
}

// attached calls write, which the write deadline can end.
func (w *responseWriter) attached(write func() error) error {
	if w.q.aborted.Load() {
		return http.ErrAbortHandler
	}
	err := write()
	if err != nil && w.q.aborted.Load() {
		return http.ErrAbortHandler
	}
	return err
}

// detached calls write and leaves it behind when the response is aborted. When a client takes
// nothing from its connection any more, a deadline does not end the write at once: with HTTP/2
// it is one of the stream, and with TLS the server answers the failed write by closing the
// connection, which waits up to 5 s for the alert to be sent (crypto/tls, Conn.Close).
func (w *responseWriter) detached(write func() error) error {
	w.q.mu.Lock()
	if w.q.w == nil || w.q.aborted.Load() {
		w.q.mu.Unlock()
		return http.ErrAbortHandler
	}
	w.q.writes.Add(1)
	w.q.mu.Unlock()

	written := make(chan outcome, 1)
	go func() {
		defer w.q.writes.Done()
		// A panic belongs to the handler's goroutine, where the server survives it.
		o := outcome{panicked: true}
		defer func() {
			if o.panicked {
				o.value = recover()
			}
			written <- o
		}()
		o.err = write()
		o.panicked = false
	}()
	select {
	case o := <-written:
		if o.panicked {
			panic(o.value)
		}
		if o.err != nil && w.q.aborted.Load() {
			return http.ErrAbortHandler
		}
		return o.err
	case <-w.q.abort:
		return http.ErrAbortHandler
	}
}

// outcome is how a detached write has ended.
type outcome struct {
	err      error
	panicked bool
	value    any
}

// SetReadDeadline implements what http.ResponseController asks for.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if w.q.w == nil || w.q.cause != nil {
		return nil
	}
	return w.control.SetReadDeadline(t)
}

// SetWriteDeadline implements what http.ResponseController asks for.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if w.q.w == nil || w.q.aborted.Load() {
		return nil
	}
	return w.control.SetWriteDeadline(t)
}

// Hijack implements http.Hijacker. The connection is the caller's then, and no interruption
// reaches it any more.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if w.q.aborted.Load() {
		return nil, nil, http.ErrAbortHandler
	}
	conn, rw, err := w.control.Hijack()
	if err == nil {
		w.q.w = nil
	}
	return conn, rw, err
}

// unframed says that the response ends with its connection.
func (w *responseWriter) unframed() bool {
	return w.http10 || w.http1 && w.Header().Get("Transfer-Encoding") == "identity"
}

// reset ends the connection in a way that is no end of file.
func (w *responseWriter) reset() {
	conn, _, err := w.control.Hijack()
	if err != nil {
		return
	}
	// Closing the TLS connection would tell the client of a regular end.
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
