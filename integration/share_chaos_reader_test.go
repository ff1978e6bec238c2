package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// chaosReader asks for the present upload, in all the ways there are.
type chaosReader struct {
	*sharedChaos
	peer  *peer
	rng   *rand.Rand
	count map[string]int
}

// reading is a download under way.
type reading struct {
	id     string
	size   int // of the upload when it was opened
	to     int
	got    atomic.Int64 // up to which byte
	doomed bool         // must not succeed any more; guarded by the chaos's mu
}

func (r *chaosReader) run(ctx, over context.Context) error {
	r.count = make(map[string]int)
	for ; over.Err() == nil; pace(over, r.rng, 100) {
		u := r.current()
		if u == nil {
			continue
		}
		if r.rng.IntN(3) == 0 {
			if err := r.head(ctx, u); err != nil {
				return err
			}
			continue
		}
		from, to, slow := 0, -1, r.rng.IntN(2) == 0
		if r.rng.IntN(3) == 0 {
			from = r.rng.IntN(base)
			to = from + r.rng.IntN(base-from) + 1
		}
		if err := r.get(ctx, u, from, to, slow); err != nil {
			return fmt.Errorf("upload %s from %d to %d: %w", u.id, from, to, err)
		}
	}
	return nil
}

func (r *chaosReader) head(ctx context.Context, u *upload) error {
	a, err := head(ctx, r.fleet.endpoint(r.rng)+u.id)
	switch {
	case err != nil:
		r.count["HEAD, server killed"]++
	case a.status == http.StatusOK:
		r.count["HEAD"]++
		r.saw(u.id, a.offset)
	case a.status == http.StatusNotFound:
		r.count["HEAD, deleted"]++
	default:
		return fmt.Errorf("HEAD: %v", a)
	}
	return nil
}

// get downloads a part, or with a negative to all there is.
func (r *chaosReader) get(ctx context.Context, u *upload, from, to int, slow bool) error {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.fleet.endpoint(r.rng)+u.id, nil)
	if err != nil {
		return err
	}
	if to >= 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	resp, err := r.peer.client.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		r.count["GET without answer"]++ // killed, or interrupted before the first byte
		return nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusNotFound:
		r.count["GET, deleted"]++
		return nil
	default:
		return fmt.Errorf("GET: %s", resp.Status)
	}
	d := &reading{id: u.id, size: int(resp.ContentLength), to: to}
	if _, total, ok := strings.Cut(resp.Header.Get("Content-Range"), "/"); ok {
		d.size, _ = strconv.Atoi(total)
	}
	if to < 0 {
		d.to = d.size
	}
	d.got.Store(int64(from))
	return r.read(d, resp.Body, u.data, slow)
}

// read compares the answer with the data, and its end with what the writer has done meanwhile.
func (r *chaosReader) read(d *reading, body io.Reader, data []byte, slow bool) error {
	r.saw(d.id, d.size)
	start := time.Now()
	r.mu.Lock()
	r.running[d] = true
	r.mu.Unlock()
	err := d.compare(body, data, slow)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, d)
	r.longest = max(r.longest, time.Since(start))
	switch {
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded):
		return err
	case err != nil:
		r.count["GET cut"]++
	case d.doomed:
		return fmt.Errorf("the download of %d bytes went on beside a write", d.size)
	default:
		r.count["GET complete"]++
	}
	return nil
}

func (d *reading) compare(body io.Reader, data []byte, slow bool) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	buf, at := make([]byte, 64<<10), int(d.got.Load())
	for {
		n, err := body.Read(buf)
		if at+n > d.to || !bytes.Equal(buf[:n], data[at:at+n]) {
			return fmt.Errorf("wrong data at %d: %w", at, errSilent)
		}
		at += n
		d.got.Store(int64(at))
		switch {
		case err == io.EOF && at < d.to:
			return fmt.Errorf("the end at %d of %d: %w", at, d.to, errSilent)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case slow:
			<-ticker.C
		}
	}
}
