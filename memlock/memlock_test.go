package memlock_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

func TestExclusion(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		ctx, other := memlock.NewContext(t.Context(), newClient()), memlock.NewContext(t.Context(), newClient())
		ran := 0
		for range 3 { // it is free again at once
			err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
				ran++
				for _, c := range []context.Context{ctx, other} {
					for _, id := range []string{"a", "b"} { // the ID alone is no ticket
						err := memlock.TryWithLock(c, key, id, func(context.Context) error { panic("two holders") })
						require.ErrorIs(t, err, memlock.ErrFailedToLock)
						require.ErrorIs(t, err, memcache.ErrNotStored)
						require.NotErrorIs(t, err, memlock.ErrLockLost)
					}
				}
				return memlock.TryWithLock(other, "another", "a", nothing)
			})
			require.NoError(t, err)
			require.NoError(t, memlock.TryWithLock(other, key, "b", nothing))
		}
		require.Equal(t, 3, ran)
	})
}

func TestErrorIsTheFunctions(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		ctx := memlock.NewContext(t.Context(), newClient())
		err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error { return errTest })
		require.True(t, err == errTest, "it is not the same: %v", err)
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", nothing))
	})
}

func TestContent(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		ctx := memlock.NewContext(t.Context(), c)
		id := "host 1\r\nset x 0 0 1\r\n"
		seen := make(map[string]bool)
		for range 3 {
			require.NoError(t, memlock.TryWithLock(ctx, key, id, func(context.Context) error {
				v := value(t, c, key)
				require.True(t, strings.HasPrefix(v, id+" "), v)
				seen[v] = true
				return nil
			}))
			_, err := c.Get(key)
			require.ErrorIs(t, err, memcache.ErrCacheMiss, "what is free takes no room")
		}
		require.Len(t, seen, 3, "no two calls have one value")
		require.Empty(t, value(t, c, "x"))
	})
}

func TestArguments(t *testing.T) {
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(errTest)
	require.Equal(t, memlock.ErrEmptyClientID, memlock.TryWithLock(ended, "", "", nil))
	require.ErrorIs(t, memlock.ErrEmptyClientID, memlock.ErrFailedToLock)

	err := memlock.TryWithLock(t.Context(), key, "a", nothing)
	require.ErrorIs(t, err, memlock.ErrFailedToLock)
	require.EqualError(t, err, "failed to lock: no memcached client in the context, see NewContext")
	err = memlock.TryWithLock(memlock.NewContext(t.Context(), nil), key, "a", nothing)
	require.EqualError(t, err, "failed to lock: no memcached client in the context, see NewContext")

	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		ctx := memlock.NewContext(t.Context(), c)
		never := func(context.Context) error { panic("it runs") }
		err := memlock.TryWithLock(ctx, key, "a", nil)
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.EqualError(t, err, "failed to lock: no function to run")
		for _, key := range []string{"", "a b", "a\n", strings.Repeat("k", 251)} {
			// The ID would be a command if a header without a key were sent.
			err := memlock.TryWithLock(ctx, key, "set x 0 0 1", never)
			require.ErrorIs(t, err, memlock.ErrFailedToLock)
			require.ErrorIs(t, err, memcache.ErrMalformedKey)
		}
		err = memlock.TryWithLock(memlock.NewContext(ended, c), key, "a", never)
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errTest)
		require.NoError(t, memlock.TryWithLock(ctx, strings.Repeat("k", 250), "a", nothing))
	})
}

// An empty entry is a lock that is free.
func TestEmptyEntry(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		ctx := memlock.NewContext(t.Context(), c)
		require.NoError(t, c.Set(&memcache.Item{Key: key}))
		var running, all atomic.Int32
		var callers sync.WaitGroup
		start := make(chan struct{})
		for range 5 {
			ctx := memlock.NewContext(t.Context(), newClient())
			callers.Go(func() {
				<-start
				_ = memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
					if running.Add(1) > 1 {
						t.Error("two holders")
					}
					all.Add(1)
					runtime.Gosched()
					running.Add(-1)
					return nil
				})
			})
		}
		close(start)
		callers.Wait()
		require.Positive(t, all.Load())
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", nothing))
	})
}

// Somebody's entry is left as it is, whatever it says.
func TestEntryOfAnother(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		ctx := memlock.NewContext(t.Context(), c)
		require.NoError(t, c.Set(&memcache.Item{Key: key, Value: []byte("a"), Flags: 7}))
		before, err := c.Get(key)
		require.NoError(t, err)
		err = memlock.TryWithLock(ctx, key, "a", func(context.Context) error { panic("it runs") })
		require.ErrorIs(t, err, memlock.ErrFailedToLock)
		after, err := c.Get(key)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}

// The entry is refreshed also when the caller has given up but its function has not ended.
func TestRefresh(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		caller, cancel := context.WithCancelCause(memlock.NewContext(t.Context(), c))
		err := memlock.TryWithLock(caller, key, "a", func(ctx context.Context) error {
			refreshed(t, c)
			require.NoError(t, ctx.Err())
			cancel(errTest)
			wait(t, ctx)
			require.ErrorIs(t, context.Cause(ctx), errTest)
			refreshed(t, c)
			refreshed(t, c)
			return context.Cause(ctx)
		})
		require.True(t, err == errTest, err)
		require.Empty(t, value(t, c, key), "released, whatever became of the caller's context")
	})
}

// refreshed waits until the entry is stored anew.
func refreshed(t *testing.T, c *memcache.Client) {
	t.Helper()
	before, err := c.Get(key)
	require.NoError(t, err)
	hung := time.After(patience)
	for {
		select {
		case <-hung:
			require.FailNow(t, "no refresh")
		case <-time.After(tick):
		}
		now, err := c.Get(key)
		require.NoError(t, err)
		require.Equal(t, before.Value, now.Value)
		if now.CasID != before.CasID {
			return
		}
	}
}

func TestPanic(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		ctx := memlock.NewContext(t.Context(), c)
		var inner context.Context
		require.PanicsWithValue(t, "oh", func() {
			_ = memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
				inner = ctx
				panic("oh")
			})
		})
		require.Error(t, inner.Err())
		require.Empty(t, value(t, c, key))

		exited := make(chan struct{})
		go func() {
			defer close(exited)
			_ = memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
				runtime.Goexit()
				return nil
			})
		}()
		<-exited
		require.Empty(t, value(t, c, key))
	})
}

func TestContextEndsWithTheFunction(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		ctx := memlock.NewContext(t.Context(), newClient())
		var inner context.Context
		require.NoError(t, memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
			inner = ctx
			return nil
		}))
		require.ErrorIs(t, inner.Err(), context.Canceled)
		require.NotErrorIs(t, context.Cause(inner), memlock.ErrLockLost)
	})
}

func TestManyContenders(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		var running, won atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			ctx := memlock.NewContext(t.Context(), newClient())
			all.Go(func() {
				for range 50 {
					err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error {
						if running.Add(1) > 1 {
							t.Error("two holders")
						}
						won.Add(1)
						runtime.Gosched()
						running.Add(-1)
						return nil
					})
					if err != nil && !errors.Is(err, memcache.ErrNotStored) {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		require.Positive(t, won.Load())
	})
}
