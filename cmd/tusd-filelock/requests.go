package main

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

// requests is the set of requests whose handlers are running.
// The zero value is not usable; call newRequests.
type requests struct {
	// stopped ends when stopAll is called.
	stopped context.Context
	stop    context.CancelFunc

	mu      sync.Mutex
	running map[*interrupt.Request]struct{}
	idle    chan struct{} // closed when the last one ends, made by who waits
}

func newRequests() *requests {
	stopped, stop := context.WithCancel(context.Background())
	return &requests{stopped: stopped, stop: stop, running: map[*interrupt.Request]struct{}{}}
}

// track returns a handler that makes each request of next one of the set.
func (s *requests) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, w, r := interrupt.New(w, r)
		s.add(q)
		defer s.remove(q)
		q.Serve(next, w, r)
	})
}

func (s *requests) add(q *interrupt.Request) {
	s.mu.Lock()
	s.running[q] = struct{}{}
	late := s.stopped.Err() != nil
	s.mu.Unlock()
	if late {
		end(q)
	}
}

func (s *requests) remove(q *interrupt.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, q)
	if len(s.running) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// end interrupts the request because the server ends. A download goes on.
func end(q *interrupt.Request) {
	q.Interrupt(handler.ErrServerShutdown, func() { q.Cancel(handler.ErrServerShutdown) })
}

// stopAll ends all requests, those of the future too, with
// handler.ErrServerShutdown: what an upload has received is saved, and waiting
// for a lock ends.
func (s *requests) stopAll() {
	s.mu.Lock()
	s.stop()
	all := make([]*interrupt.Request, 0, len(s.running))
	for q := range s.running {
		all = append(all, q)
	}
	s.mu.Unlock()
	for _, q := range all {
		end(q)
	}
}

// count returns how many requests are running.
func (s *requests) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running)
}

// wait returns when no handler is running, or the context's error.
func (s *requests) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.running) == 0 {
			s.mu.Unlock()
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// locker returns a locker that is l until stopAll is called, which ends all
// waiting for locks.
func (s *requests) locker(l handler.Locker) handler.Locker { return stoppableLocker{l, s.stopped} }

type stoppableLocker struct {
	handler.Locker
	stopped context.Context
}

func (l stoppableLocker) NewLock(id string) (handler.Lock, error) {
	lock, err := l.Locker.NewLock(id)
	if err != nil {
		return nil, err
	}
	return stoppableLock{lock, l.stopped}, nil
}

type stoppableLock struct {
	lock    handler.Lock
	stopped context.Context
}

func (l stoppableLock) Lock(ctx context.Context, release func()) error {
	if l.stopped.Err() != nil {
		return handler.ErrServerShutdown
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.stopped, cancel)()

	err := l.lock.Lock(ctx, release)
	if errors.Is(err, handler.ErrLockTimeout) && l.stopped.Err() != nil {
		return handler.ErrServerShutdown
	}
	return err
}

func (l stoppableLock) Unlock() error { return l.lock.Unlock() }
