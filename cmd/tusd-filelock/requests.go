package main

import (
	"context"
	"errors"
	"maps"
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
	running map[*interrupt.Request]context.CancelCauseFunc
	idle    chan struct{} // closed when the last one ends, made by who waits
}

func newRequests() *requests {
	stopped, stop := context.WithCancel(context.Background())
	return &requests{stopped: stopped, stop: stop, running: map[*interrupt.Request]context.CancelCauseFunc{}}
}

// track returns a handler that makes each request of next one of the set.
func (s *requests) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		q, w, r := interrupt.New(ctx, w, r)
		s.add(q, cancel)
		defer s.remove(q)
		q.Serve(next, w, r)
	})
}

func (s *requests) add(q *interrupt.Request, cancel context.CancelCauseFunc) {
	s.mu.Lock()
	s.running[q] = cancel
	late := s.stopped.Err() != nil
	s.mu.Unlock()
	if late {
		end(q, cancel)
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
func end(q *interrupt.Request, cancel context.CancelCauseFunc) {
	q.Interrupt(handler.ErrServerShutdown, func() { cancel(handler.ErrServerShutdown) })
}

// stopAll ends all requests, those of the future too, with
// handler.ErrServerShutdown: what an upload has received is saved, and waiting
// for a lock ends.
func (s *requests) stopAll() {
	s.mu.Lock()
	s.stop()
	all := maps.Clone(s.running)
	s.mu.Unlock()
	for q, cancel := range all {
		end(q, cancel)
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
