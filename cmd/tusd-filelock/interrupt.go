package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// request is one running request that can be interrupted at any time.
//
// tusd interrupts an upload by closing a body reader that its handler makes
// only after it has the lock. An interruption that comes before is lost, and
// the upload then runs on undisturbed; that it looks for the reader without
// synchronization is a data race besides. And one that comes when the handler
// has just returned sets a deadline on a connection that is no longer its own,
// which ends the process if it was an HTTP/2 stream. So the body itself
// remembers the interruption here, tusd hears of it when its reader is there,
// and nothing reaches the connection once the handler has returned.
type request struct {
	set     *requests
	control *http.ResponseController
	cancel  context.CancelCauseFunc
	upload  bool // tusd makes a body reader for it

	mu      sync.Mutex
	cause   error // why it is interrupted; nil while it is not
	reading bool  // tusd has made its reader
	drained bool  // reading the body is over
	ended   bool
	notify  []func() // what to call once tusd has its reader
}

// requestKey is the context key of a *request.
type requestKey struct{}

// newRequest returns a request and the writer and *http.Request by which its
// handler has to be called.
func newRequest(set *requests, w http.ResponseWriter, r *http.Request) (*request, http.ResponseWriter, *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	q := &request{
		set:     set,
		control: http.NewResponseController(w),
		cancel:  cancel,
		// A POST may be a PATCH in disguise, see X-HTTP-Method-Override.
		upload:  r.Method == http.MethodPatch || r.Method == http.MethodPost,
		drained: r.Body == http.NoBody,
	}
	r = r.WithContext(context.WithValue(ctx, requestKey{}, q))
	if q.upload {
		r.Body = &requestBody{r.Body, q}
	}
	return q, &responseWriter{w, q, r.ProtoMajor == 1 && r.ContentLength < 0}, r
}

// shutDown interrupts the request because the server ends.
func (q *request) shutDown() {
	q.interrupt(handler.ErrServerShutdown, func() { q.cancel(handler.ErrServerShutdown) })
}

// interrupt makes all further reads of the body fail with cause, and the one
// that is blocked now. The first cause counts. It then calls notify, but not
// before tusd can act on it: if tusd never reads the body, notify is not called.
func (q *request) interrupt(cause error, notify func()) {
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		return
	}
	if q.cause == nil {
		q.cause = cause
		// Without an unread body the server is listening for the client to hang
		// up, and would take the deadline for that.
		if q.upload && !q.drained {
			q.control.SetReadDeadline(time.Now())
		}
	}
	if q.upload && !q.reading {
		q.notify = append(q.notify, notify)
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	notify()
}

// end cuts the request off from its connection. It is called when its handler
// has returned.
func (q *request) end() {
	q.mu.Lock()
	q.ended = true
	q.notify = nil
	q.mu.Unlock()
	q.cancel(nil)
}

// beforeRead returns the error of a read that must not happen.
func (q *request) beforeRead() error {
	q.mu.Lock()
	q.reading = true
	notify, cause := q.notify, q.cause
	q.notify = nil
	q.mu.Unlock()
	for _, f := range notify {
		f()
	}
	return cause
}

// afterRead returns the error of a read that failed with err.
func (q *request) afterRead(err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drained = true
	if q.cause != nil && err != io.EOF {
		return q.cause
	}
	return err
}

// requestBody is the body of an upload.
type requestBody struct {
	body io.ReadCloser
	q    *request
}

func (b *requestBody) Read(p []byte) (int, error) {
	if err := b.q.beforeRead(); err != nil {
		return 0, err
	}
	n, err := b.body.Read(p)
	if err != nil {
		err = b.q.afterRead(err)
	}
	return n, err
}

// Close ends reading. The server closes the body itself after the handler, and
// tusd's call may come from another goroutine, even later.
func (b *requestBody) Close() error {
	b.q.interrupt(http.ErrBodyReadAfterClose, func() {})
	return nil
}

// responseWriter keeps deadlines away from requests that have ended, and from
// extending the one that an interruption has set.
type responseWriter struct {
	http.ResponseWriter
	q         *request
	openEnded bool // HTTP/1 with a body of unknown length
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader closes the connection after a body that exceeded its limit, which
// http.MaxBytesReader can only do to the server's own writer.
func (w *responseWriter) WriteHeader(status int) {
	if w.openEnded && status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

// SetReadDeadline implements what http.ResponseController asks for.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if w.q.ended || w.q.cause != nil {
		return nil
	}
	return w.q.control.SetReadDeadline(t)
}

// SetWriteDeadline implements what http.ResponseController asks for.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if w.q.ended {
		return nil
	}
	return w.q.control.SetWriteDeadline(t)
}
