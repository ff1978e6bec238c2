// Package interrupt makes running HTTP requests end when somebody else wants that: an upload
// by failing reads of its body, a download by failing writes of its answer.
//
// Both act whatever the handler is doing at that moment, also before it has begun to read or
// write, and neither reaches the connection once the handler has returned, when it belongs to
// the next request, or, with HTTP/2, is nothing that may be touched.
//
// # Uploads
//
// tusd interrupts an upload by closing a body reader that its handler makes only after it has
// the lock. An interruption that comes before is lost, and the upload then runs on undisturbed;
// that it looks for the reader without synchronization is a data race besides. And one that
// comes when the handler has just returned sets a deadline on a connection that is no longer
// its own, which ends the process if it was an HTTP/2 stream. So the body itself remembers the
// interruption here, and tusd hears of it when its reader is there; see [Request.Interrupt].
//
// # Downloads
//
// An aborted response must not look like a complete one. With HTTP/2 the stream is reset and
// the others of its connection go on. With HTTP/1 the connection is closed before the promised
// length, or before the last chunk. A response without either, which is all that an HTTP/1.0
// client may understand, ends with its connection: that one is reset instead of closed. This
// needs TCP; over a UNIX socket a response without a length looks complete.
package interrupt

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxName is the length at which [Request.String] is cut.
const maxName = 200

// Request is one running request that can be interrupted at any time, from any goroutine.
// Interrupt and Abort do nothing once the handler has returned.
type Request struct {
	name    string
	client  context.Context
	upload  bool // tusd makes a body reader for it
	aborted atomic.Bool
	abort   chan struct{} // closed by Abort; nil if no write is to be left behind
	writes  sync.WaitGroup

	mu      sync.Mutex
	w       *responseWriter // nil once the handler has returned, or the connection is the handler's
	cause   error           // why it is interrupted; nil while it is not
	reading bool            // tusd has made its reader
	drained bool            // reading the body is over
	notify  []func()        // what to call once tusd has its reader
}

// requestKey is the context key of a *Request. tusd keeps the context for 10 s after the handler has
// returned, so what it leads to is no more than that: not the answer, its headers and its buffers.
type requestKey struct{}

// New returns a Request for what a handler was called with, and the writer and *http.Request
// by which the next handler has to be called, through [Request.Serve]. ctx is for the latter, and
// descends from r's.
func New(ctx context.Context, w http.ResponseWriter, r *http.Request) (*Request, http.ResponseWriter, *http.Request) {
	q := &Request{
		name:   r.Method + " " + r.URL.EscapedPath(),
		client: r.Context(),
		// A POST may be a PATCH in disguise, see X-HTTP-Method-Override.
		upload:  r.Method == http.MethodPatch || r.Method == http.MethodPost,
		drained: r.Body == http.NoBody || r.Body == nil,
	}
	q.w = &responseWriter{
		ResponseWriter: w,
		q:              q,
		control:        *http.NewResponseController(w),
		http1:          r.ProtoMajor == 1,
		http10:         r.ProtoMajor == 1 && r.ProtoMinor == 0,
		openEnded:      r.ProtoMajor == 1 && r.ContentLength < 0,
		detach:         r.ProtoMajor > 1 || r.TLS != nil,
	}
	if q.w.detach {
		q.abort = make(chan struct{})
	}
	next := r.WithContext(context.WithValue(ctx, requestKey{}, q))
	if q.upload && r.Body != nil {
		next.Body = &requestBody{r.Body, q}
	}
	return q, q.w, next
}

// From returns the Request that ctx belongs to, or nil. A context that keeps the values and
// not the cancellation of the request's, such as tusd's, belongs to it too.
func From(ctx context.Context) *Request {
	q, _ := ctx.Value(requestKey{}).(*Request)
	return q
}

// Serve calls next with w and r, which are those that [New] has returned, and ends the
// Request when next returns or panics. Of an aborted response it makes sure that the client
// notices: then it panics with [http.ErrAbortHandler], unless next has panicked itself.
//
// A write that next has left behind, because the client of an aborted response takes nothing,
// is waited for.
func (q *Request) Serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	returned := false
	defer func() {
		if q.end() && returned {
			panic(http.ErrAbortHandler)
		}
	}()
	next.ServeHTTP(w, r)
	returned = true
}

// Interrupt makes all further reads of an upload's body fail with cause, and the one that is
// blocked now. The first cause counts. It then calls notify, but not before tusd can act on
// it: if tusd never reads the body, notify is not called. For a request that is no upload all
// it does is to call notify.
func (q *Request) Interrupt(cause error, notify func()) {
	q.mu.Lock()
	if q.w == nil {
		q.mu.Unlock()
		return
	}
	if q.cause == nil {
		q.cause = cause
		// Without an unread body the server is listening for the client to hang
		// up, and would take the deadline for that.
		if q.upload && !q.drained {
			q.w.control.SetReadDeadline(time.Now())
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

// Abort makes the response fail at once: a blocked write returns, all later ones fail with
// [http.ErrAbortHandler], and no deadline set by the handler revives them. The client gets an
// error when the handler has returned, also if nothing was written before or after, and
// earlier with HTTP/2.
func (q *Request) Abort() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.w == nil || q.aborted.Load() {
		return
	}
	q.aborted.Store(true)
	if q.abort != nil {
		close(q.abort)
	}
	q.w.control.SetWriteDeadline(time.Now())
}

// Client returns a context that ends when the client has gone or the handler has returned.
//
// An HTTP/1 server does not see a client go while it has not read the whole body of its
// request. A request without a body, such as a GET, is not affected by that.
func (q *Request) Client() context.Context { return q.client }

// String returns the method and the escaped path of the request as it came in, without the
// query, such as "PATCH /files/abc". It is cut to 200 bytes.
func (q *Request) String() string { return q.name[:min(len(q.name), maxName)] }

// end cuts the request off from its connection, and reports whether its response was aborted.
func (q *Request) end() (aborted bool) {
	q.mu.Lock()
	w := q.w
	q.w, q.notify = nil, nil
	q.mu.Unlock()
	q.writes.Wait()
	if w == nil || !q.aborted.Load() {
		return false
	}
	if w.unframed() {
		w.reset()
	}
	return true
}
