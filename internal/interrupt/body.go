package interrupt

import (
	"io"
	"net/http"
)

// requestBody is the body of an upload.
type requestBody struct {
	body io.ReadCloser
	x    *exchange
}

func (b *requestBody) Read(p []byte) (int, error) {
	if err := b.x.beforeRead(); err != nil {
		return 0, err
	}
	n, err := b.body.Read(p)
	if err != nil {
		err = b.x.afterRead(err)
	}
	return n, err
}

// Close ends reading. The server closes the body itself after the handler, and
// tusd's call may come from another goroutine, even later.
func (b *requestBody) Close() error {
	b.x.interrupt(http.ErrBodyReadAfterClose, func() {})
	return nil
}

// beforeRead returns the error of a read that must not happen.
func (x *exchange) beforeRead() error {
	x.mu.Lock()
	x.reading = true
	notify, cause := x.notify, x.cause
	x.notify = nil
	x.mu.Unlock()
	for _, f := range notify {
		f()
	}
	return cause
}

// afterRead returns the error of a read that failed with err.
func (x *exchange) afterRead(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drained = true
	if x.cause != nil && err != io.EOF {
		return x.cause
	}
	return err
}
