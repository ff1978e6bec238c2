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
	"sync/atomic"
)

// maxName is the length at which [Request.String] is cut.
const maxName = 200

// Request is one running request that can be interrupted at any time, from any goroutine, and
// the context of that request. Interrupt and Abort do nothing once the handler has returned.
//
// tusd keeps the context for 10 s after that, of thousands of requests at a time on a busy server,
// and all of them are looked at by each garbage collection. So a Request is one small piece of
// memory, which leads neither to the answer nor to its headers and buffers.
type Request struct {
	context.Context
	client  context.Context
	kind    kind
	shares  bool
	running atomic.Pointer[exchange] // nil once the handler has returned
}

// kind is what a request does.
type kind uint8

const (
	other kind = iota
	upload
	download
	look
)

func kindOf(method string) kind {
	switch method {
	case http.MethodPatch, http.MethodPost: // which may be a PATCH in disguise, see X-HTTP-Method-Override
		return upload
	case http.MethodGet:
		return download
	case http.MethodHead:
		return look
	}
	return other
}

// requestKey is the context key of a *Request.
type requestKey struct{}

// New returns a Request for what a handler was called with, and the writer and *http.Request
// by which the next handler has to be called, through [Request.Serve]. The latter's context is the
// Request, which ends with ctx, and that descends from r's.
func New(ctx context.Context, w http.ResponseWriter, r *http.Request) (*Request, http.ResponseWriter, *http.Request) {
	q := &Request{Context: ctx, client: r.Context(), kind: kindOf(r.Method)}
	x := newExchange(q, w, r)
	q.running.Store(x)
	next := r.WithContext(q)
	if q.kind == upload && r.Body != nil {
		x.body = requestBody{r.Body, x}
		next.Body = &x.body
	}
	return q, x, next
}

// From returns the Request that ctx belongs to, or nil. A context that keeps the values and
// not the cancellation of the request's, such as tusd's, belongs to it too.
func From(ctx context.Context) *Request {
	q, _ := ctx.Value(requestKey{}).(*Request)
	return q
}

// Value returns what the context has for key.
func (q *Request) Value(key any) any {
	if _, own := key.(requestKey); own {
		return q
	}
	return q.Context.Value(key)
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
		if q.running.Swap(nil).end() && returned {
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
	if x := q.running.Load(); x != nil {
		x.interrupt(cause, notify)
	}
}

// Abort makes the response fail at once: a blocked write returns, all later ones fail with
// [http.ErrAbortHandler], and no deadline set by the handler revives them. The client gets an
// error when the handler has returned, also if nothing was written before or after, and
// earlier with HTTP/2.
func (q *Request) Abort() {
	if x := q.running.Load(); x != nil {
		x.abort()
	}
}

// Client returns a context that ends when the client has gone or the handler has returned.
//
// An HTTP/1 server does not see a client go while it has not read the whole body of its
// request. A request without a body, such as a GET, is not affected by that.
func (q *Request) Client() context.Context { return q.client }

// Share has [Request.Shares] say whether the request only reads. It has to be called before the
// handler that wants to know.
func (q *Request) Share() { q.shares = q.kind == download || q.kind == look }

// Shares says whether the request can share its upload with others. Without a call of Share it
// cannot.
func (q *Request) Shares() bool { return q.shares }

// Downloads says whether the request is a GET.
func (q *Request) Downloads() bool { return q.kind == download }

// String returns the method and the escaped path of the request as it came in, without the
// query, such as "PATCH /files/abc". It is cut to 200 bytes, and empty once the handler has
// returned.
func (q *Request) String() string {
	x := q.running.Load()
	if x == nil {
		return ""
	}
	return x.name[:min(len(x.name), maxName)]
}
