package interrupt

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is what a Request has while its handler runs: the writer that the handler gets, and the
// state of both directions. It keeps writes and deadlines away from responses that were aborted or have
// ended, and from extending the deadline that an interruption has set.
type exchange struct {
	http.ResponseWriter
	control   http.ResponseController
	name      string
	upload    bool // tusd makes a body reader for it
	http1     bool
	http10    bool
	openEnded bool // HTTP/1 with a body of unknown length
	detach    bool // no deadline is sure to end a write
	buf       []byte
	body      requestBody

	aborted atomic.Bool
	failed  chan struct{}  // closed by abort; nil if no write is to be left behind
	writes  sync.WaitGroup // those that may be left behind

	mu      sync.Mutex
	over    bool     // for who has come by it in time: the handler has returned, or the connection is its own
	cause   error    // why it is interrupted; nil while it is not
	reading bool     // tusd has made its reader
	drained bool     // reading the body is over
	notify  []func() // what to call once tusd has its reader
}

func newExchange(q *Request, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{
		ResponseWriter: w,
		control:        *http.NewResponseController(w),
		name:           r.Method + " " + r.URL.EscapedPath(),
		upload:         q.kind == upload,
		http1:          r.ProtoMajor == 1,
		http10:         r.ProtoMajor == 1 && r.ProtoMinor == 0,
		openEnded:      r.ProtoMajor == 1 && r.ContentLength < 0,
		detach:         r.ProtoMajor > 1 || r.TLS != nil,
		drained:        r.Body == http.NoBody || r.Body == nil,
	}
	if x.detach {
		x.failed = make(chan struct{})
	}
	return x
}

// interrupt is [Request.Interrupt].
func (x *exchange) interrupt(cause error, notify func()) {
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return
	}
	if x.cause == nil {
		x.cause = cause
		// Without an unread body the server is listening for the client to hang
		// up, and would take the deadline for that.
		if x.upload && !x.drained {
			x.control.SetReadDeadline(time.Now())
		}
	}
	if x.upload && !x.reading {
		x.notify = append(x.notify, notify)
		x.mu.Unlock()
		return
	}
	x.mu.Unlock()
	notify()
}

// abort is [Request.Abort].
func (x *exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || x.aborted.Load() {
		return
	}
	x.aborted.Store(true)
	if x.failed != nil {
		close(x.failed)
	}
	x.control.SetWriteDeadline(time.Now())
}

// end cuts the request off from its connection, and reports whether its response was aborted.
func (x *exchange) end() (aborted bool) {
	x.mu.Lock()
	over := x.over
	x.over, x.notify = true, nil
	x.mu.Unlock()
	x.writes.Wait()
	if over || !x.aborted.Load() {
		return false
	}
	if x.unframed() {
		x.reset()
	}
	return true
}
