package memlock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

// A server that does not answer holds up nobody for longer than the context, and what was
// asked of it is taken back when it answers.
func TestAttemptEndsWithTheContext(t *testing.T) {
	for what, stall := range map[string]func(s *server, wait func(request)){
		"before": func(s *server, wait func(request)) { s.hook(wait, nil) },
		"after":  func(s *server, wait func(request)) { s.hook(nil, wait) },
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, ctx context.Context) {
				c := s.client(t)
				c.Timeout = time.Hour
				ctx, cancel := context.WithTimeoutCause(memlock.NewContext(ctx, c), 7*time.Second, errTest)
				defer cancel()
				wait, undo := s.stall()
				stall(s, wait)
				took, err := within(func() error {
					return memlock.TryWithLock(ctx, key, "a", func(context.Context) error { panic("it runs") })
				})
				require.Equal(t, 7*time.Second, took)
				require.ErrorIs(t, err, memlock.ErrFailedToLock)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, errTest)
				undo()
				synctest.Wait()
				require.Empty(t, first(s.entry(key)), "taken back")
			})
		})
	}
}

// A context that ends as the answer comes has ended: the function does not run.
func TestContextEndsWithTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		for range 100 {
			caller, cancel := context.WithCancel(ctx)
			s.hook(nil, func(r request) {
				if r.verb == "add" {
					cancel()
				}
			})
			err := memlock.TryWithLock(caller, key, "a", func(context.Context) error { panic("it runs") })
			require.ErrorIs(t, err, memlock.ErrFailedToLock)
			require.ErrorIs(t, err, context.Canceled)
			synctest.Wait()
			require.Empty(t, first(s.entry(key)))
		}
	})
}

// lateContext has ended before anybody is told.
type lateContext struct {
	context.Context
	ended *atomic.Bool
}

func (c lateContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}

// A context that ends right after the answer has ended as well.
func TestContextEndsAfterTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		late := lateContext{ctx, new(atomic.Bool)}
		s.hook(nil, func(request) { late.ended.Store(true) })
		err := memlock.TryWithLock(late, key, "a", func(context.Context) error { panic("it runs") })
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, first(s.entry(key)))
	})
}

// A context that has ended before the call costs the server nothing.
func TestContextHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error { panic("it runs") })
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.EqualError(t, err, "failed to lock: context canceled")
		synctest.Wait()
		require.Empty(t, s.log())
	})
}
