package flock_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	gofrs "github.com/gofrs/flock"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
)

// The same lock beside github.com/gofrs/flock, for example
//
//	go test -run='^$' -bench=. -count=6 ./flock
//
// That one has no heartbeat, no lease, and does not notice a replaced file. On Linux it makes
// nine system calls per cycle, four of them the fcntl that O_NONBLOCK saves here. Ours are
// eight (nine where the file is not on a disk, or was not refreshed just before): the
// difference is an fstat, two looks at the name, which cost more than a microsecond each, and
// the timer. One look is for not locking a file that is gone, the other for telling a loss.
func benchmarkBoth(b *testing.B, run func(b *testing.B, lock func() (unlock func() error, err error))) {
	b.Run("ours", func(b *testing.B) {
		root, err := os.OpenRoot(b.TempDir())
		require.NoError(b, err)
		defer root.Close()
		run(b, func() (func() error, error) { return flock.TryLock(context.Background(), root) })
	})
	b.Run("gofrs", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), flock.LockFile)
		run(b, func() (func() error, error) {
			l := gofrs.New(path)
			_, err := l.TryLockContext(context.Background(), 10*time.Millisecond)
			return l.Unlock, err
		})
	})
}

func cycle(b *testing.B, lock func() (func() error, error)) {
	unlock, err := lock()
	if err == nil {
		err = unlock()
	}
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkUncontended(b *testing.B) {
	benchmarkBoth(b, func(b *testing.B, lock func() (func() error, error)) {
		for b.Loop() {
			cycle(b, lock)
		}
	})
}

func BenchmarkContended(b *testing.B) {
	benchmarkBoth(b, func(b *testing.B, lock func() (func() error, error)) {
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				unlock, err := lock()
				if err == nil {
					err = unlock()
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
