package touchfile_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	gofrs "github.com/gofrs/flock"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

// The same lock beside github.com/gofrs/flock, for example
//
//	go test -run='^$' -bench=. -count=6 ./touchfile
//
// One object of that package is no lock between goroutines, so each of its cycles has its own.
func benchmarkBoth(b *testing.B, run func(b *testing.B, cycle func() error)) {
	ctx := context.Background()
	for _, kind := range []touchfile.LockType{touchfile.Exclusive, touchfile.Shared} {
		name := map[touchfile.LockType]string{touchfile.Exclusive: "exclusive", touchfile.Shared: "shared"}[kind]
		b.Run(name+"/ours", func(b *testing.B) {
			tf, err := touchfile.NewTouchFile(filepath.Join(b.TempDir(), "f"))
			require.NoError(b, err)
			run(b, func() error {
				if err := tf.Lock(ctx, kind); err != nil {
					return err
				}
				return tf.Unlock()
			})
		})
		b.Run(name+"/gofrs", func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "f")
			run(b, func() (err error) {
				l := gofrs.New(path)
				if kind == touchfile.Exclusive {
					_, err = l.TryLockContext(ctx, 10*time.Millisecond)
				} else {
					_, err = l.TryRLockContext(ctx, 10*time.Millisecond)
				}
				if err != nil {
					return err
				}
				return l.Unlock()
			})
		})
	}
}

func BenchmarkUncontended(b *testing.B) {
	benchmarkBoth(b, func(b *testing.B, cycle func() error) {
		for b.Loop() {
			if err := cycle(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkContended(b *testing.B) {
	benchmarkBoth(b, func(b *testing.B, cycle func() error) {
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := cycle(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
