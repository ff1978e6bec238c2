package filelocker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// BenchmarkReader is a reader's Lock and Unlock: alone, beside another reader of the process,
// and beside one of another process. The exclusive cycle is that of BenchmarkUncontended.
func BenchmarkReader(b *testing.B) {
	for _, beside := range []string{"alone", "reader", "other process's reader"} {
		b.Run(beside, func(b *testing.B) {
			f, ctx := setUpIn(b, ours, b.TempDir(), settings{}), filelocker.Reading(context.Background())
			switch beside {
			case "reader":
				g := f.newLock("a")
				require.NoError(b, g.take(ctx))
				defer g.unlock()
			case "other process's reader":
				c := f.start()
				c.tell("read a")
				c.expect("locked a")
				defer c.end()
			}
			for b.Loop() {
				read(b, f.locker, ctx)
			}
		})
	}
}

// BenchmarkReaders are many readers of one upload at once.
func BenchmarkReaders(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, ctx := setUpIn(b, ours, b.TempDir(), settings{}), filelocker.Reading(context.Background())
			b.SetParallelism(n)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					read(b, f.locker, ctx)
				}
			})
		})
	}
}

func read(b *testing.B, locker handler.Locker, ctx context.Context) {
	lock, err := locker.NewLock("a")
	if err == nil {
		err = lock.Lock(ctx, func() {})
	}
	if err == nil {
		err = lock.Unlock()
	}
	if err != nil {
		b.Fatal(err)
	}
}
