package touchfile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
	left      bool // the path does not name file any more: no further reader may join
	away      bool // one goroutine is getting file or giving it back
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
	join             // the readers; the path has yet to be compared
)

// admit says whether kind can have its turn, and gives it.
func (q *queue) admit(kind LockType) turn {
	switch {
	case q.away || q.exclusive:
		return wait
	case q.readers == 0:
		q.away = true
		return lead
	case kind == Shared && !q.left:
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
	for again := false; ; again = true {
		turn, err := t.queue.enter(ctx, kind, again)
		switch {
		case err != nil:
			return fmt.Errorf("lock %s: %w", t.path, err)
		case turn == lead:
			f, err := acquire(ctx, t.path, kind)
			t.queue.lead(f, kind)
			return err
		}
		err = t.queue.current().compare(t.path)
		if err == nil {
			return nil
		}
		_ = t.queue.leave(true)
		if !errors.Is(err, errReplaced) {
			return err
		}
	}
}

// enter waits until it is the caller's turn, in front of all others if it had one before.
func (q *queue) enter(ctx context.Context, kind LockType, first bool) (turn, error) {
	if err := contextError(ctx); err != nil {
		return wait, err
	}
	q.mu.Lock()
	if len(q.waiting) == 0 || first {
		if t := q.admit(kind); t != wait {
			q.mu.Unlock()
			return t, nil
		}
	}
	w := &waiter{kind, make(chan turn, 1)}
	if first {
		q.waiting = slices.Insert(q.waiting, 0, w)
	} else {
		q.waiting = append(q.waiting, w)
	}
	q.mu.Unlock()
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
		q.file, q.left = f, false
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

// leave gives up one hold, and the kernel lock with the last one. After left nobody joins
// those who remain.
func (q *queue) leave(left bool) error {
	q.mu.Lock()
	q.left = q.left || left
	switch {
	case q.exclusive:
		q.exclusive = false
	case q.readers > 0:
		q.readers--
	default:
		q.mu.Unlock()
		return nil
	}
	if q.readers > 0 {
		q.mu.Unlock()
		return nil
	}
	f := q.file
	q.file, q.away = nil, true
	q.mu.Unlock()
	err := f.release()
	q.mu.Lock()
	q.away = false
	q.advance()
	q.mu.Unlock()
	return err
}

// contextError is nil as long as ctx has not ended.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
