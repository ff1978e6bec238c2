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

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader closes the connection after a body that exceeded its limit, which
// http.MaxBytesReader can only do to the server's own writer.
func (x *exchange) WriteHeader(status int) {
	if x.aborted.Load() {
		return
	}
	if x.openEnded && status == http.StatusRequestEntityTooLarge {
		x.Header().Set("Connection", "close")
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (n int, err error) {
	if !x.detach {
		err = x.attached(func() (err error) {
			n, err = x.ResponseWriter.Write(p)
			return err
		})
		return n, err
	}
	for {
		part := p[n:min(n+maxDetached, len(p))]
		if err := x.writePart(part); err != nil {
			return n, err
		}
		if n += len(part); n == len(p) {
			return n, nil
		}
	}
}

func (x *exchange) writePart(p []byte) error {
	// The caller may change p when Write has returned, and after an Abort that is before the
	// server is done with it.
	if !x.aborted.Load() {
		x.buf = append(x.buf[:0], p...)
	}
	return x.detached(func() error {
		_, err := x.ResponseWriter.Write(x.buf)
		return err
	})
}

// ReadFrom leaves the way open for sendfile(2).
func (x *exchange) ReadFrom(src io.Reader) (n int64, err error) {
	if x.detach {
		return io.Copy(struct{ io.Writer }{x}, src)
	}
	err = x.attached(func() (err error) {
		n, err = io.Copy(x.ResponseWriter, src)
		return err
	})
	return n, err
}

// Flush implements http.Flusher.
func (x *exchange) Flush() { x.FlushError() }

// FlushError implements what http.ResponseController asks for.
func (x *exchange) FlushError() error {
	if x.detach {
		return x.detached(x.control.Flush)
	}
	return x.attached(x.control.Flush)
}

// attached calls write, which the write deadline can end.
func (x *exchange) attached(write func() error) error {
	if x.aborted.Load() {
		return http.ErrAbortHandler
	}
	err := write()
	if err != nil && x.aborted.Load() {
		return http.ErrAbortHandler
	}
	return err
}

// detached calls write and leaves it behind when the response is aborted. When a client takes
// nothing from its connection any more, a deadline does not end the write at once: with HTTP/2
// it is one of the stream, and with TLS the server answers the failed write by closing the
// connection, which waits up to 5 s for the alert to be sent (crypto/tls, Conn.Close).
func (x *exchange) detached(write func() error) error {
	x.mu.Lock()
	if x.over || x.aborted.Load() {
		x.mu.Unlock()
		return http.ErrAbortHandler
	}
	x.writes.Add(1)
	x.mu.Unlock()

	written := make(chan outcome, 1)
	go func() {
		defer x.writes.Done()
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
		if o.err != nil && x.aborted.Load() {
			return http.ErrAbortHandler
		}
		return o.err
	case <-x.failed:
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
func (x *exchange) SetReadDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || x.cause != nil {
		return nil
	}
	return x.control.SetReadDeadline(t)
}

// SetWriteDeadline implements what http.ResponseController asks for.
func (x *exchange) SetWriteDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || x.aborted.Load() {
		return nil
	}
	return x.control.SetWriteDeadline(t)
}

// Hijack implements http.Hijacker. The connection is the caller's then, and no interruption
// reaches it any more.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.aborted.Load() {
		return nil, nil, http.ErrAbortHandler
	}
	conn, rw, err := x.control.Hijack()
	if err == nil {
		x.over = true
	}
	return conn, rw, err
}

// unframed says that the response ends with its connection.
func (x *exchange) unframed() bool {
	return x.http10 || x.http1 && x.Header().Get("Transfer-Encoding") == "identity"
}

// reset ends the connection in a way that is no end of file.
func (x *exchange) reset() {
	conn, _, err := x.control.Hijack()
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
