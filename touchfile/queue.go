package touchfile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A queue whose waiters have passed the file on among themselves for a stretch leaves it
// alone for a rest, in which every waiter of another process looks at it.
const (
	stretch = 100 * time.Millisecond
	rest    = maxPause + 2*time.Millisecond
)

// queue is who on one TouchFile holds the lock and who waits for it, first come, first
// served. All goroutines on it share one kernel lock: the first one gets it and the last one
// gives it back.
type queue struct {
	mu      sync.Mutex // never held during a system call
	waiting []*waiter
	file    *file // open and locked while anybody holds the lock

	exclusive bool
	readers   int
	away      bool // one goroutine is getting file or giving it back

	since time.Time // the first unlock of the stretch
	begin time.Time // the end of the rest
}

type waiter struct {
	kind LockType
	turn chan turn // gets one value, when the waiter is out of the queue
}

// turn is how it goes on for one who asks for the lock.
type turn int

const (
	wait turn = iota // for one's turn
	lead             // get the kernel lock
	join             // those who have it, or inherit it; the path has yet to be compared
)

// admit says whether kind can have its turn, and gives it.
func (q *queue) admit(kind LockType) turn {
	switch {
	case q.away || q.exclusive:
		return wait
	case q.readers == 0:
		q.away = true
		return lead
	case kind == Shared:
		q.readers++
		return join
	default:
		return wait
	}
}

// advance gives their turn to those at the head of the queue who can have it.
func (q *queue) advance() {
	for len(q.waiting) > 0 {
		w := q.waiting[0]
		t := q.admit(w.kind)
		if t == wait {
			return
		}
		q.waiting = slices.Delete(q.waiting, 0, 1)
		w.turn <- t
	}
}

func (t *TouchFile) lock(ctx context.Context, kind LockType) error {
	q := &t.queue
	turn, err := q.enter(ctx, kind)
	for err == nil {
		if turn == lead {
			f, err := acquire(ctx, t.path, kind, q.begin)
			q.lead(f, kind)
			return err
		}
		err = q.current().compare(t.path)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errReplaced):
			w := q.rejoin(kind)
			_ = q.leave(true)
			turn, err = q.await(ctx, w)
		default:
			_ = q.leave(true)
			return err
		}
	}
	return fmt.Errorf("lock %s: %w", t.path, err)
}

// enter waits until it is the caller's turn.
func (q *queue) enter(ctx context.Context, kind LockType) (turn, error) {
	if err := contextError(ctx); err != nil {
		return wait, err
	}
	q.mu.Lock()
	if len(q.waiting) == 0 {
		if t := q.admit(kind); t != wait {
			if t == lead {
				q.since = time.Time{} // nobody had it: that stretch is over
			}
			q.mu.Unlock()
			return t, nil
		}
	}
	w := &waiter{kind, make(chan turn, 1)}
	q.waiting = append(q.waiting, w)
	q.mu.Unlock()
	return q.await(ctx, w)
}

// rejoin puts one whose turn it was in front of all others.
func (q *queue) rejoin(kind LockType) *waiter {
	w := &waiter{kind, make(chan turn, 1)}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.Insert(q.waiting, 0, w)
	return w
}

// await waits until it is the turn of w, which is in the queue.
func (q *queue) await(ctx context.Context, w *waiter) (turn, error) {
	select {
	case t := <-w.turn:
		return t, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return <-w.turn, nil // it came in the same moment, and others count on it
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.advance() // a writer that gives up was all that kept readers behind it waiting
	return wait, contextError(ctx)
}

// lead ends a turn of that kind. Without a file it has failed, and the next one tries.
func (q *queue) lead(f *file, kind LockType) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.away = false
	if f != nil {
		q.file = f
		q.exclusive = kind == Exclusive
		if kind == Shared {
			q.readers = 1
		}
	}
	q.advance()
}

// current is the file of a reader that has joined, which stays open until it leaves.
func (q *queue) current() *file {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.file
}

func (t *TouchFile) unlock() error { return t.queue.leave(false) }

// leave gives up one hold, and the kernel lock with the last one, unless the next one
// inherits it. Nobody does when the file is left because the path does not name it.
func (q *queue) leave(left bool) error {
	q.mu.Lock()
	switch {
	case q.readers > 1:
		q.readers--
		q.mu.Unlock()
		return nil
	case q.readers == 0 && !q.exclusive, !left && q.bequeath():
		q.mu.Unlock()
		return nil
	}
	f := q.file
	q.file, q.exclusive, q.readers, q.away = nil, false, 0, true
	q.mu.Unlock()
	err := f.release()
	q.mu.Lock()
	q.away = false
	q.advance()
	q.mu.Unlock()
	return err
}

// bequeath gives the file as it is to a writer who waits behind a writer. Nobody else can have
// it so, as flock(2) cannot change the kind of a lock without a moment in which it is free.
func (q *queue) bequeath() bool {
	if len(q.waiting) == 0 {
		return false
	}
	now := time.Now()
	if q.since.IsZero() {
		q.since = now
	}
	if now.Sub(q.since) > stretch {
		q.since, q.begin = time.Time{}, now.Add(rest)
		return false
	}
	w := q.waiting[0]
	if !q.exclusive || w.kind != Exclusive {
		return false
	}
	q.waiting = slices.Delete(q.waiting, 0, 1)
	w.turn <- join
	return true
}

// contextError is nil as long as ctx has not ended.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
