//go:build linux

package history_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// worker locks and unlocks uploads at random, one after the other.
type worker struct {
	n       int
	rng     *rand.Rand
	locker  handler.Locker
	journal *journal
	holds   *atomic.Int64 // of the whole process
	longest time.Duration
}

func (w *worker) run(over context.Context) {
	for over.Err() == nil {
		if w.rng.IntN(5) < 2 {
			w.read(over)
		} else {
			w.hold(over, context.Background(), false)
		}
		if w.rng.IntN(2) == 0 {
			w.pause(over, 2*w.longest)
		}
	}
}

// read does as tusd does for a download: it locks within a request that only reads.
func (w *worker) read(over context.Context) {
	defer func() {
		// How a download ends whose lock somebody else wants.
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	method := http.MethodGet
	if w.rng.IntN(3) == 0 {
		method = http.MethodHead
	}
	h := filelocker.ShareReads(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.hold(over, r.Context(), true)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/", nil))
}

// pause waits for up to most, or until over ends.
func (w *worker) pause(over context.Context, most time.Duration) {
	if most <= 0 {
		return
	}
	timer := time.NewTimer(time.Duration(w.rng.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over.Done():
	}
}

// patience is a context for one Lock: many last until the end, some end soon, some have ended.
func (w *worker) patience(over, parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(over, cancel)
	soon := time.Hour
	switch kind := w.rng.IntN(100); {
	case kind < 40:
		soon = time.Duration(w.rng.Int64N(int64(20 * time.Millisecond)))
	case kind < 45:
		cancel()
	}
	timer := time.AfterFunc(soon, cancel)
	return ctx, func() { stop(); timer.Stop(); cancel() }
}

// hold locks an upload, and unlocks it again after a while.
func (w *worker) hold(over, parent context.Context, shared bool) {
	ctx, cancel := w.patience(over, parent)
	defer cancel()
	h := &held{
		worker: w,
		of:     record{Hold: int(w.holds.Add(1)), Worker: w.n, ID: ids[w.rng.IntN(len(ids))], Shared: shared},
		locked: make(chan struct{}),
		wanted: make(chan struct{}),
		yields: w.rng.IntN(3),
	}
	lock, err := w.locker.NewLock(h.of.ID)
	if err != nil {
		panic(err)
	}
	h.lock = lock
	outcome := h.record(opLock, func() string {
		err := lock.Lock(ctx, h.asked)
		return outcomeOf(err, ctx.Err() != nil)
	})
	if outcome != done {
		return
	}
	close(h.locked)
	if most := w.longest; w.rng.IntN(20) == 0 {
		h.keep(over, 10*most)
	} else {
		h.keep(over, most)
	}
	h.unlock()
	if w.rng.IntN(10) == 0 {
		h.record(opAgain, func() string { return outcomeOf(lock.Unlock(), false) })
	}
}

// held is one hold of a worker.
type held struct {
	worker *worker
	lock   handler.Lock
	of     record
	locked chan struct{} // closed when Lock has succeeded and that is recorded
	wanted chan struct{} // closed when the worker is to unlock
	yields int
	once   sync.Once
	calls  atomic.Int32
}

func (h *held) record(op string, f func() string) string {
	r := h.of
	r.Op = op
	return h.worker.journal.around(r, f)
}

// asked is the release callback.
func (h *held) asked() {
	<-h.locked
	if h.calls.Add(1) > 1 {
		panic("the release callback was called twice")
	}
	switch h.yields {
	case 0: // ignore it
	case 1:
		close(h.wanted)
	case 2:
		h.unlock()
	}
}

// keep keeps the lock for up to most, or until it is wanted.
func (h *held) keep(over context.Context, most time.Duration) {
	if most <= 0 {
		return
	}
	timer := time.NewTimer(time.Duration(h.worker.rng.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.wanted:
	case <-over.Done():
	}
}

// unlock returns when the lock has been given back, by this or an earlier call.
func (h *held) unlock() {
	h.once.Do(func() {
		h.record(opUnlock, func() string { return outcomeOf(h.lock.Unlock(), false) })
	})
}
