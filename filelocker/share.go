package filelocker

import (
	"context"
	"net/http"

	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

// ShareReads returns a handler that makes the GET and HEAD requests of next share the lock of
// an upload, instead of waiting for each other. It goes around tusd's handler, or around
// whatever router that is in:
//
//	http.Handle("/files/", filelocker.ShareReads(http.StripPrefix("/files/", tusd)))
//
// Readers share; whoever writes or deletes has the lock alone, and waits at most for those who
// read already: a waiting writer keeps new readers out, and downloads that are under way are
// ended for it. The response of such a download fails at once and for sure: an HTTP/1
// connection is closed in the middle of it, an HTTP/2 stream is reset, and no client can take
// what it got for the whole file. Its handler ends with [http.ErrAbortHandler] as a panic. A
// HEAD is not ended: its answer is there before that could matter.
//
// It also tells the locker when the client of a waiting request has gone, which tusd does 10
// seconds later: the request stops waiting, and interrupts nobody any more. An HTTP/1 request
// with an unread body is an exception, as net/http does not see its client go. And a PATCH or
// POST that is asked to let go before tusd has begun to read it is interrupted for sure, which
// tusd by itself can miss.
//
// It works with [FileLocker] only; other lockers are not affected by it. A request whose method
// is overridden by X-HTTP-Method-Override takes the lock alone, whatever it asks for.
//
// On network and user-space file systems readers share the lock within one machine, not across
// machines. Where the file system has no kernel locks they share it within one process.
func ShareReads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := interrupt.From(r.Context()); q != nil {
			q.Share()
			next.ServeHTTP(w, r)
			return
		}
		q, w, r := interrupt.New(r.Context(), w, r)
		q.Share()
		q.Serve(next, w, r)
	})
}

// holder is the one for the request that ctx belongs to.
func (l *lock) holder(ctx context.Context, release func()) *holder {
	w := &holder{lock: l, client: context.Background(), release: release}
	q := interrupt.From(ctx)
	if q == nil {
		return w
	}
	w.who, w.client, w.shared = q.String(), q.Client(), q.Shares()
	if release == nil {
		release = func() {}
	}
	switch {
	case !w.shared:
		w.release = func() { q.Interrupt(handler.ErrUploadInterrupted, release) }
	case q.Downloads():
		w.release = func() {
			q.Abort()
			release()
		}
	}
	return w
}
