package memlock_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

// The lifetime counts from before the write was sent, however late the answer.
func TestSlowAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		slow := s.client(t)
		slow.Timeout = time.Minute
		ctx = memlock.NewContext(ctx, slow)
		s.hook(nil, func(r request) {
			if r.verb == "add" {
				time.Sleep(10 * time.Second)
				s.hook(func(request) { time.Sleep(time.Hour) }, nil)
			}
		})
		took, err := within(func() error {
			return memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
				<-ctx.Done()
				return nil
			})
		})
		require.ErrorIs(t, err, memlock.ErrLockLost)
		require.Equal(t, (12+3)*time.Second, took, "2 s for the function, and 3 s for the release")
	})
}

// An answer so late that the lock may be over soon is none.
func TestLateAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		slow := s.client(t)
		slow.Timeout = time.Minute
		s.hook(nil, func(r request) {
			if r.verb == "add" {
				time.Sleep(12 * time.Second)
			}
		})
		err := memlock.TryWithLock(memlock.NewContext(ctx, slow), key, "a", func(context.Context) error { panic("it runs") })
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.EqualError(t, err, "failed to lock: memcached took too long to answer")
		require.Empty(t, first(s.entry(key)))
	})
}

// An answer that is lost on its way is no lock, and no obstacle to the next one.
func TestAnswerIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		s.hook(nil, func(r request) {
			if r.verb == "add" {
				r.conn.Close()
			}
		})
		err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error { panic("it runs") })
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.ErrorIs(t, err, io.EOF)
		synctest.Wait()
		s.hook(nil, nil)
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", nothing))
	})
}

func TestServerIsDown(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		s.refuse = true
		err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error { panic("it runs") })
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.ErrorIs(t, err, io.ErrClosedPipe)
	})
}

// The release has a context of its own, and a bound.
func TestReleaseIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		c := s.client(t)
		c.Timeout = time.Hour
		caller, cancel := context.WithCancel(memlock.NewContext(ctx, c))
		wait, undo := s.stall()
		took, err := within(func() error {
			return memlock.TryWithLock(caller, key, "a", func(context.Context) error {
				cancel()
				s.hook(wait, nil)
				return errTest
			})
		})
		require.True(t, err == errTest, "the function ran under the lock: %v", err)
		require.Equal(t, 3*time.Second, took)
		undo()
		synctest.Wait()
		require.Empty(t, first(s.entry(key)))
	})
}

// Connections that died while they were idle do not keep the lock from being released.
func TestReleaseOverADeadConnection(t *testing.T) {
	for what, hook := range map[string]func(s *server){
		"before": func(s *server) { s.drop() },
		"after": func(s *server) {
			s.hook(nil, func(r request) {
				if r.verb == "cas" {
					r.conn.Close() // the release has been carried out, and nobody knows
				}
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, ctx context.Context) {
				require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
					hook(s)
					return nil
				}))
				require.Empty(t, first(s.entry(key)))
			})
		})
	}
}

// A refresh that was given up and is carried out in the middle of the release does not keep
// the lock.
func TestLateRefresh(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		late, wait := make(chan struct{}), make(chan struct{})
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
			var once bool
			s.hook(func(r request) {
				if r.verb == "cas" && !once {
					once = true
					<-wait
				}
			}, func(r request) {
				if r.verb == "cas" {
					select {
					case <-late:
					default:
						close(late)
					}
				}
			})
			time.Sleep(1300 * time.Millisecond) // the refresh is on its way, and waits
			s.hook(nil, func(r request) {
				if r.verb == "gets" { // the release has looked
					s.hook(nil, nil)
					close(wait)
					<-late
				}
			})
			return nil
		}))
		require.Empty(t, first(s.entry(key)))
	})
}

// An entry that ends between two steps of an attempt is free.
func TestEntryEndsMeanwhile(t *testing.T) {
	for _, verb := range []string{"gets", "cas"} {
		t.Run(verb, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, ctx context.Context) {
				c := s.client(t)
				require.NoError(t, c.Set(&memcache.Item{Key: key}))
				s.hook(func(r request) {
					if r.verb == verb {
						s.hook(nil, nil)
						s.mu.Lock()
						delete(s.items, key)
						s.mu.Unlock()
					}
				}, nil)
				require.NoError(t, memlock.TryWithLock(ctx, key, "a", nothing))
			})
		})
	}
}

// The entry of a process that died ends by itself.
func TestCrash(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
			s.mu.Lock()
			s.items["dead"] = s.items[key]
			s.mu.Unlock()
			return nil
		}))
		start := time.Now()
		for memlock.TryWithLock(ctx, "dead", "b", nothing) != nil {
			time.Sleep(100 * time.Millisecond)
		}
		require.Greater(t, time.Since(start), 14*time.Second)
		require.LessOrEqual(t, time.Since(start), 16*time.Second)
	})
}

// A server that takes its time for every answer, but answers, does not cost the lock.
func TestSlowServer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		c := s.client(t)
		c.Timeout = time.Hour
		for _, slow := range []time.Duration{time.Second, 1500 * time.Millisecond, 3 * time.Second} {
			s.hook(func(request) { time.Sleep(slow) }, nil)
			require.NoError(t, memlock.TryWithLock(memlock.NewContext(ctx, c), key, "a", func(ctx context.Context) error {
				time.Sleep(time.Minute)
				return ctx.Err()
			}), slow)
			time.Sleep(10 * time.Second) // the release goes on by itself
			require.Empty(t, first(s.entry(key)), slow)
		}
	})
}

// Refreshes that arrive in the middle of the release, one after another, do not keep the lock.
func TestManyLateRefreshes(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
			var late int
			s.hook(nil, func(r request) {
				if late++; r.verb == "gets" && late < 8 {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.cas++
					i := s.items[key]
					i.cas = s.cas
					s.items[key] = i
				}
			})
			return nil
		}))
		require.Empty(t, first(s.entry(key)))
	})
}
