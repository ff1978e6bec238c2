package memlock_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/memlock"
)

// bubble runs a test with a clock of its own: what sleeps there takes no time.
func bubble(t *testing.T, test func(t *testing.T, s *server, ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		test(t, s, memlock.NewContext(t.Context(), s.client(t)))
	})
}

// first is what is stored, as server.entry says.
func first(v string, _ time.Duration) string { return v }

// within runs TryWithLock in a bubble and says how long it took.
func within(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

func TestHeldForHours(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		const n = 2 * 3600
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
			first, _ := s.entry(key)
			for range n {
				time.Sleep(time.Second)
				now, left := s.entry(key)
				require.Equal(t, first, now)
				require.Greater(t, left, 13*time.Second)
				require.NoError(t, ctx.Err())
			}
			return nil
		}))

		// About every second, and not in step.
		var refreshes []time.Time
		for _, r := range s.log() {
			if r.verb == "cas" {
				require.Contains(t, []string{"16", "-1"}, r.args[2])
				refreshes = append(refreshes, r.time)
			}
		}
		log := s.log()
		require.Equal(t, "-1 0", strings.Join(log[len(log)-1].args[2:4], " "), "emptied as well, for servers that know no past")
		require.InDelta(t, n, len(refreshes), n/20)
		pauses := make(map[time.Duration]bool)
		for i := 1; i < len(refreshes)-1; i++ {
			pause := refreshes[i].Sub(refreshes[i-1])
			require.GreaterOrEqual(t, pause, 750*time.Millisecond)
			require.LessOrEqual(t, pause, 1250*time.Millisecond)
			pauses[pause] = true
		}
		require.Greater(t, len(pauses), n/2)
	})
}

// What is sent is add, gets and cas, whatever happens.
func TestNothingUnconditional(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
			require.Error(t, memlock.TryWithLock(ctx, key, "a", nothing))
			time.Sleep(10 * time.Second)
			wait, undo := s.stall()
			s.hook(wait, nil)
			time.Sleep(5 * time.Second)
			undo()
			s.drop()
			time.Sleep(5 * time.Second)
			return nil
		}))
		verbs := make(map[string]int)
		for _, r := range s.log() {
			verbs[r.verb]++
			if r.verb == "add" {
				require.Equal(t, "16", r.args[2])
			}
		}
		require.Len(t, verbs, 3)
		require.Equal(t, 2, verbs["add"], "one for each call")
		require.Positive(t, verbs["gets"])
		require.Positive(t, verbs["cas"])
	})
}

// A function that was told to end is still protected while it does.
func TestTimeToEnd(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		caller, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		err := memlock.TryWithLock(caller, key, "a", func(inner context.Context) error {
			<-inner.Done()
			require.ErrorIs(t, inner.Err(), context.DeadlineExceeded)
			for range 100 {
				time.Sleep(time.Second)
				require.ErrorIs(t, memlock.TryWithLock(ctx, key, "b", nothing), memcache.ErrNotStored)
			}
			return errTest
		})
		require.True(t, err == errTest, err)
		require.NoError(t, memlock.TryWithLock(ctx, key, "b", nothing))
	})
}

// However the server stops answering, and whenever, the function is told well before the
// entry ends.
func TestStalledServer(t *testing.T) {
	stop := map[string]func(*server) (undo func()){
		"nothing is carried out": func(s *server) func() {
			wait, undo := s.stall()
			s.hook(wait, nil)
			return undo
		},
		"nothing is answered": func(s *server) func() {
			wait, undo := s.stall()
			s.hook(nil, wait)
			return undo
		},
		"nobody is there": func(s *server) func() {
			s.shut()
			return func() {}
		},
	}
	for what, stop := range stop {
		for _, slow := range []time.Duration{0, 1500 * time.Millisecond} {
			t.Run(what+" after "+slow.String(), func(t *testing.T) {
				for after := 20 * time.Second; after < 23*time.Second; after += 97 * time.Millisecond {
					mustBeToldInTime(t, stop, slow, after)
				}
			})
		}
	}
}

// mustBeToldInTime stops the server after a time in which its answers were slow.
func mustBeToldInTime(t *testing.T, stop func(*server) func(), slow, after time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := s.client(t)
		if slow > 0 {
			c.Timeout = time.Hour
			s.hook(nil, func(r request) {
				if r.verb == "cas" {
					time.Sleep(slow)
				}
			})
		}
		ctx := memlock.NewContext(t.Context(), c)
		undo := func() {}
		defer func() { undo() }()
		err := memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
			time.Sleep(after)
			undo = stop(s)
			stopped := time.Now()
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), memlock.ErrLockLost)
			_, left := s.entry(key)
			require.GreaterOrEqual(t, left, 3*time.Second, "it can be another's")
			require.Greater(t, time.Since(stopped), 7*time.Second, "in a hurry")
			return errTest
		})
		require.ErrorIs(t, err, memlock.ErrLockLost)
		require.ErrorIs(t, err, errTest)
	})
}

// A server that comes back in time costs nobody the lock.
func TestShortStall(t *testing.T) {
	for what, timeout := range map[string]time.Duration{"the default timeout": 0, "a long timeout": time.Hour} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *server, ctx context.Context) {
				c := s.client(t)
				c.Timeout = timeout
				require.NoError(t, memlock.TryWithLock(memlock.NewContext(ctx, c), key, "a", func(ctx context.Context) error {
					for range 5 {
						wait, undo := s.stall()
						s.hook(wait, nil)
						time.Sleep(9 * time.Second)
						undo()
						time.Sleep(5 * time.Second)
						require.NoError(t, ctx.Err())
						_, left := s.entry(key)
						require.Greater(t, left, 13*time.Second)
					}
					return nil
				}))
				require.Empty(t, first(s.entry(key)))
			})
		})
	}
}

// One dead connection, on which nothing is ever answered, does not cost the lock either.
func TestDeadConnection(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		c := s.client(t)
		c.Timeout = time.Hour
		err := memlock.TryWithLock(memlock.NewContext(ctx, c), key, "a", func(ctx context.Context) error {
			var dead any
			over := make(chan struct{})
			defer close(over)
			s.hook(func(r request) {
				s.mu.Lock()
				if dead == nil {
					dead = r.conn
				}
				mine := dead == r.conn
				s.mu.Unlock()
				if mine {
					<-over
				}
			}, nil)
			time.Sleep(time.Minute)
			return ctx.Err()
		})
		require.NoError(t, err)
	})
}

// When the lock is lost because nobody answers, but in truth is still there, the function is
// protected while it ends, and the loss is reported.
func TestRecoveryAfterLoss(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		err := memlock.TryWithLock(ctx, key, "a", func(inner context.Context) error {
			wait, undo := s.stall()
			s.hook(wait, nil)
			<-inner.Done()
			undo()
			for range 60 {
				time.Sleep(time.Second)
				require.ErrorIs(t, memlock.TryWithLock(ctx, key, "b", nothing), memcache.ErrNotStored)
			}
			return nil
		})
		require.ErrorIs(t, err, memlock.ErrLockLost)
		require.Empty(t, first(s.entry(key)), "released all the same")
	})
}

// Refreshes that nobody answers do not pile up.
func TestNoPileOfRefreshes(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		c := s.client(t)
		c.Timeout = 24 * time.Hour
		var undo func()
		err := memlock.TryWithLock(memlock.NewContext(ctx, c), key, "a", func(ctx context.Context) error {
			before := len(s.log())
			var wait func(request)
			wait, undo = s.stall()
			s.hook(wait, nil)
			time.Sleep(time.Hour)
			require.Less(t, len(s.log())-before, 10)
			return nil
		})
		require.ErrorIs(t, err, memlock.ErrLockLost)
		undo()
	})
}

// What is left of a call, whether it worked or not, is nothing.
func TestNothingIsLeft(t *testing.T) {
	m := startMemcached(t)
	c := m.client(t)
	c.MaxIdleConns = 1
	ctx := memlock.NewContext(t.Context(), c)
	require.NoError(t, memlock.TryWithLock(ctx, key, "a", nothing))
	leaktest.Check(t)
	for range 20 {
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
			require.Error(t, memlock.TryWithLock(ctx, key, "a", nothing))
			return nil
		}))
	}
}
