package mutex

import (
	"slices"
	"sync"
)

// process is who in this process holds or waits for which mutex. A Spec is a value that
// anybody can make anew, so it must be known to all of them.
var process queues

// queues has one queue per mutex. The one at its head is not in waiting: it holds the mutex
// or is the only one of this process that waits for the kernel.
type queues struct {
	mu      sync.Mutex
	waiting map[string][]chan turn
}

// turn is what one goroutine leaves to the next.
type turn struct {
	hold  *hold // the mutex; nil: take it
	yield bool  // let other processes go first
}

// join returns nil if it is the caller's turn, else a channel that the turn comes through.
// Whoever has the turn must pass it or leave.
func (q *queues) join(path string) chan turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == nil {
		q.waiting = make(map[string][]chan turn)
	}
	others, taken := q.waiting[path]
	if !taken {
		q.waiting[path] = nil
		return nil
	}
	mine := make(chan turn, 1)
	q.waiting[path] = append(others, mine)
	return mine
}

// abandon gives up waiting for the turn. It returns false if the turn has come already.
func (q *queues) abandon(path string, mine chan turn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting[path], mine)
	if i < 0 {
		return false
	}
	q.waiting[path] = slices.Delete(q.waiting[path], i, i+1)
	return true
}

func (q *queues) wanted(path string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting[path]) > 0
}

// pass gives the turn to the next in the queue. It returns false if there is none.
func (q *queues) pass(path string, t turn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.give(path, t)
}

// leave passes the turn, or ends the queue.
func (q *queues) leave(path string, t turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.give(path, t) {
		delete(q.waiting, path)
	}
}

func (q *queues) give(path string, t turn) bool {
	others := q.waiting[path]
	if len(others) == 0 {
		return false
	}
	others[0] <- t
	q.waiting[path] = slices.Delete(others, 0, 1)
	return true
}
