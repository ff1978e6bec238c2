package interrupt

import (
	"io"
	"net/http"
)

// requestBody is the body of an upload.
type requestBody struct {
	body io.ReadCloser
	q    *Request
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
	b.q.Interrupt(http.ErrBodyReadAfterClose, func() {})
	return nil
}

// beforeRead returns the error of a read that must not happen.
func (q *Request) beforeRead() error {
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
func (q *Request) afterRead(err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drained = true
	if q.cause != nil && err != io.EOF {
		return q.cause
	}
	return err
}
