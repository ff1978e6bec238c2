package memlock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

func TestLoss(t *testing.T) {
	for what, lose := range map[string]func(*memcache.Client) error{
		"gone":      func(c *memcache.Client) error { return c.Delete(key) },
		"flushed":   func(c *memcache.Client) error { return c.FlushAll() },
		"another's": func(c *memcache.Client) error { return c.Set(&memcache.Item{Key: key, Value: []byte("b")}) },
		"empty":     func(c *memcache.Client) error { return c.Set(&memcache.Item{Key: key}) },
	} {
		t.Run(what, func(t *testing.T) {
			onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
				c := newClient()
				ctx := memlock.NewContext(t.Context(), c)
				var after *memcache.Item
				err := memlock.TryWithLock(ctx, key, "a", func(ctx context.Context) error {
					require.NoError(t, lose(c))
					after, _ = c.Get(key)
					wait(t, ctx)
					require.ErrorIs(t, context.Cause(ctx), memlock.ErrLockLost)
					return errTest
				})
				require.ErrorIs(t, err, memlock.ErrLockLost)
				require.ErrorIs(t, err, errTest)
				require.NotErrorIs(t, err, memlock.ErrFailedToLock)
				now, _ := c.Get(key)
				require.Equal(t, after, now, "it was somebody else's")
			})
		})
	}
}

// A server that is restarted has lost its entries, and the client its connections.
func TestRestart(t *testing.T) {
	t.Parallel()
	m := startMemcached(t)
	ctx := memlock.NewContext(t.Context(), m.client(t))
	err := memlock.TryWithLock(ctx, key, "a", func(inner context.Context) error {
		m.restart(t)
		wait(t, inner)
		require.ErrorIs(t, context.Cause(inner), memlock.ErrLockLost)
		return nil
	})
	require.ErrorIs(t, err, memlock.ErrLockLost)
	require.NoError(t, memlock.TryWithLock(ctx, key, "b", nothing))
}

// A loss in the last moment is found by the release.
func TestLossAtTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, newClient func() *memcache.Client) {
		c := newClient()
		ctx := memlock.NewContext(t.Context(), c)
		err := memlock.TryWithLock(ctx, key, "a", func(context.Context) error { return c.Delete(key) })
		require.Equal(t, errors.Join(memlock.ErrLockLost), err)
	})
}

// The next refresh finds out, long before the time is up.
func TestLossIsToldSoon(t *testing.T) {
	bubble(t, func(t *testing.T, s *server, ctx context.Context) {
		c := s.client(t)
		err := memlock.TryWithLock(ctx, key, "a", func(inner context.Context) error {
			require.NoError(t, c.Delete(key))
			lost := time.Now()
			<-inner.Done()
			require.LessOrEqual(t, time.Since(lost), 1250*time.Millisecond)
			asked := len(s.log())
			time.Sleep(time.Minute)
			require.Len(t, s.log(), asked, "there is nothing to refresh any more")
			return nil
		})
		require.ErrorIs(t, err, memlock.ErrLockLost)
	})
}
