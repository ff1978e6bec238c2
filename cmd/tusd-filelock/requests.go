package main

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"
)

// requests is the set of requests whose handlers are running.
// The zero value is not usable; call newRequests.
type requests struct {
	// stopped ends when stopAll is called.
	stopped context.Context
	stop    context.CancelFunc

	mu      sync.Mutex
	running map[*request]struct{}
	idle    chan struct{} // closed when the last one ends, made by who waits
}

func newRequests() *requests {
	stopped, stop := context.WithCancel(context.Background())
	return &requests{stopped: stopped, stop: stop, running: map[*request]struct{}{}}
}

// track returns a handler that makes each request of next one of the set.
func (s *requests) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, w, r := newRequest(s, w, r)
		s.add(q)
		defer s.remove(q)
		next.ServeHTTP(w, r)
	})
}

func (s *requests) add(q *request) {
	s.mu.Lock()
	s.running[q] = struct{}{}
	late := s.stopped.Err() != nil
	s.mu.Unlock()
	if late {
		q.shutDown()
	}
}

func (s *requests) remove(q *request) {
	q.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, q)
	if len(s.running) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// stopAll ends all requests, those of the future too, with
// handler.ErrServerShutdown: what an upload has received is saved, and waiting
// for a lock ends.
func (s *requests) stopAll() {
	s.mu.Lock()
	s.stop()
	all := make([]*request, 0, len(s.running))
	for q := range s.running {
		all = append(all, q)
	}
	s.mu.Unlock()
	for _, q := range all {
		q.shutDown()
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

// requestLocker lets locks reach the requests that hold them.
type requestLocker struct {
	handler.Locker
}

func (l requestLocker) NewLock(id string) (handler.Lock, error) {
	lock, err := l.Locker.NewLock(id)
	if err != nil {
		return nil, err
	}
	return requestLock{lock}, nil
}

type requestLock struct {
	lock handler.Lock
}

// Lock is the locker's Lock for the request that ctx belongs to. Being asked to
// release interrupts that request for sure, and a shutdown ends the waiting.
func (l requestLock) Lock(ctx context.Context, release func()) error {
	q, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return l.lock.Lock(ctx, release)
	}
	if q.set.stopped.Err() != nil {
		return handler.ErrServerShutdown
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.set.stopped, cancel)()

	err := l.lock.Lock(ctx, func() { q.interrupt(handler.ErrUploadInterrupted, release) })
	if errors.Is(err, handler.ErrLockTimeout) && q.set.stopped.Err() != nil {
		return handler.ErrServerShutdown
	}
	return err
}

func (l requestLock) Unlock() error { return l.lock.Unlock() }
