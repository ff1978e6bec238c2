package memlock_test

import (
	"sync"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

// BenchmarkUncontended takes and gives back what nobody else wants, on the real memcached:
// three exchanges, against the two of an add and a delete that does not look whose the entry is.
// None can be spared: a release by compare-and-swap needs the number that memcached gave the
// entry, and the client only learns that from a get.
func BenchmarkUncontended(b *testing.B) {
	for _, l := range lockers(b) {
		b.Run(l.name, func(b *testing.B) {
			for b.Loop() {
				require.True(b, l.lock())
			}
		})
	}
}

// BenchmarkContended has eight goroutines after the same lock. An attempt that fails counts too.
func BenchmarkContended(b *testing.B) {
	for _, l := range lockers(b) {
		b.Run(l.name, func(b *testing.B) {
			const goroutines = 8
			var all sync.WaitGroup
			for i := range goroutines {
				all.Go(func() {
					for n := i; n < b.N; n += goroutines {
						l.lock()
					}
				})
			}
			all.Wait()
		})
	}
}

type locker struct {
	name string
	lock func() bool
}

func lockers(b *testing.B) []locker {
	c := startMemcached(b).client(b)
	c.MaxIdleConns = 8
	ctx := memlock.NewContext(b.Context(), c)
	return []locker{
		{"memlock", func() bool { return memlock.TryWithLock(ctx, key, "a", nothing) == nil }},
		{"add-delete", func() bool {
			err := c.Add(&memcache.Item{Key: key, Value: []byte("a"), Expiration: 16})
			return err == nil && c.Delete(key) == nil
		}},
	}
}
