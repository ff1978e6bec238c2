package integration_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"
)

// chaosWriter makes, extends and deletes one upload after the other, alone.
type chaosWriter struct {
	*sharedChaos
	rng     *rand.Rand
	uploads []*upload
	waits   []effect // where the server lived to tell
	failed  int
}

// effect says how long a request waited before it began to have one.
type effect struct {
	took   time.Duration
	method string
	begin  time.Time
}

// base is what an upload has before anybody reads it: more than fits between a server and
// its client.
const base = 10 << 20

func (w *chaosWriter) run(ctx, over context.Context) error {
	for over.Err() == nil {
		u, err := w.begin(ctx)
		for i := w.rng.IntN(20); i >= 0 && err == nil && over.Err() == nil; i-- {
			pace(over, w.rng, []int{50, 200, 200, 1500}[w.rng.IntN(4)])
			err = w.extend(ctx, u, 2+w.rng.IntN(32<<10))
		}
		if err == nil && w.rng.IntN(3) > 0 {
			err = w.remove(ctx, u)
		} else if err == nil {
			err = w.reach(ctx, u, len(u.data))
		}
		if err != nil {
			return fmt.Errorf("upload %v: %w", u, err)
		}
	}
	return nil
}

// retry calls try until it is done. That nobody answers in time is for the caller to tell.
func (w *chaosWriter) retry(ctx context.Context, try func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	for {
		done, err := try(ctx)
		if done || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.failed++
		pace(ctx, w.rng, 20)
	}
}

func (w *chaosWriter) begin(ctx context.Context) (u *upload, err error) {
	w.seed++
	data := content(w.seed, base+1<<20)
	err = w.retry(ctx, func(ctx context.Context) (bool, error) {
		u, err = tryCreate(ctx, w.fleet.endpoint(w.rng), data)
		return err == nil, nil
	})
	if err != nil {
		return nil, err
	}
	w.uploads = append(w.uploads, u)
	if err := w.reach(ctx, u, base); err != nil {
		return u, err
	}
	w.mu.Lock()
	w.present = u
	w.mu.Unlock()
	return u, nil
}

// offset asks where the upload stands. There is no write then: the writer has no other.
func (w *chaosWriter) offset(ctx context.Context, u *upload) (offset int, err error) {
	err = w.retry(ctx, func(ctx context.Context) (bool, error) {
		a, err := head(ctx, w.fleet.endpoint(w.rng)+u.id)
		if err != nil {
			return false, nil
		}
		if a.status != http.StatusOK {
			return false, fmt.Errorf("HEAD: %v", a)
		}
		offset = a.offset
		return true, nil
	})
	w.mu.Lock()
	w.rests[rest{u.id, offset}] = true
	w.mu.Unlock()
	return offset, err
}

// reach uploads until the upload has that size.
func (w *chaosWriter) reach(ctx context.Context, u *upload, size int) error {
	return w.retry(ctx, func(ctx context.Context) (bool, error) {
		offset, err := w.offset(ctx, u)
		if err != nil || offset >= size {
			return err == nil, err
		}
		a, err := patch(ctx, w.fleet.endpoint(w.rng)+u.id, offset, u.data[offset:size])
		if err == nil && a.code == "ERR_LOCK_TIMEOUT" {
			return false, fmt.Errorf("PATCH: %v", a)
		}
		return false, nil
	})
}

// extend appends up to n bytes in two steps, and takes what is stored if it is interrupted.
func (w *chaosWriter) extend(ctx context.Context, u *upload, n int) error {
	offset, err := w.offset(ctx, u)
	if err != nil || len(u.data)-offset < 2 {
		return err
	}
	n = min(n, len(u.data)-offset)
	start := time.Now()
	s, err := tryStall(w.fleet.endpoint(w.rng), &upload{id: u.id, data: u.data[:offset+n]}, offset, n/2)
	if err != nil {
		w.failed++
		return nil
	}
	ended := make(chan error, 1)
	var a answer
	go func() {
		var err error
		a, err = s.answer()
		ended <- err
	}()
	err = w.firstStep(u, offset, ended)
	took := time.Since(start)
	if err == nil && u.size(w.fleet.dir) > offset {
		w.waits = append(w.waits, effect{took, http.MethodPatch, start})
		w.writing(u, offset)
		_ = s.send(u.data[offset+n/2 : offset+n])
	}
	if err == nil {
		err = <-ended
	} else if errors.Is(err, errEnded) {
		err = nil
	}
	s.abort()
	if err != nil { // its server was killed
		w.failed++
		return nil
	}
	if a.code == "ERR_LOCK_TIMEOUT" {
		return fmt.Errorf("PATCH: %v", a)
	}
	_, err = w.offset(ctx, u)
	return err
}

// errEnded says that a PATCH was answered before its data were seen on disk.
var errEnded = errors.New("ended")

// firstStep waits until the first half of a PATCH is on disk, or the PATCH has ended.
func (w *chaosWriter) firstStep(u *upload, offset int, ended <-chan error) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for u.size(w.fleet.dir) == offset {
		select {
		case err := <-ended:
			if err == nil {
				err = errEnded
			}
			return err
		case <-ticker.C:
		}
	}
	return nil
}

func (w *chaosWriter) remove(ctx context.Context, u *upload) error {
	u.deleted = true
	return w.retry(ctx, func(ctx context.Context) (bool, error) {
		start := time.Now()
		a, err := request(ctx, http.MethodDelete, w.fleet.endpoint(w.rng)+u.id, nil)
		switch {
		case err != nil:
			return false, nil
		case a.status == http.StatusNotFound: // an earlier answer was lost
		case a.status == http.StatusNoContent:
			w.waits = append(w.waits, effect{time.Since(start), http.MethodDelete, start})
		default:
			return false, fmt.Errorf("DELETE: %v", a)
		}
		w.writing(u, len(u.data))
		return true, nil
	})
}

func (w *chaosWriter) log(t *testing.T) {
	t.Helper()
	t.Logf("writer: %d uploads, %d requests without success", len(w.uploads), w.failed)
	slices.SortFunc(w.waits, func(a, b effect) int { return cmp.Compare(a.took, b.took) })
	n := len(w.waits)
	if n == 0 {
		return
	}
	t.Logf("%d waits of the writer: median %v, 99 %% %v, longest %v; longest download: %v",
		n, w.waits[n/2].took, w.waits[(n-1)*99/100].took, w.waits[n-1].took, w.longest)
	for _, e := range w.waits[max(0, n-3):] {
		t.Logf("%s of %s: %v", e.method, e.begin.Format("15:04:05.000"), e.took)
	}
}
