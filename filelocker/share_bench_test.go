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
	for _, beside := range []string{"alone", "reader"} {
		b.Run(beside, func(b *testing.B) {
			f := setUpIn(b, ours, b.TempDir(), settings{})
			switch beside {
			case "reader":
				g := f.newLock("a")
				require.NoError(b, g.take(filelocker.Reading(context.Background())))
				defer g.unlock()
			case "other process's reader":
				c := f.start()
				c.tell("read a")
				c.expect("locked a")
				defer c.end()
			}
			for b.Loop() {
				read(b, f.locker, "a")
			}
		})
	}
}

// BenchmarkReaders are many readers of one upload at once.
func BenchmarkReaders(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := setUpIn(b, ours, b.TempDir(), settings{})
			b.SetParallelism(n)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					read(b, f.locker, "a")
				}
			})
		})
	}
}

func read(b *testing.B, locker handler.Locker, id string) {
	lock, err := locker.NewLock(id)
	if err == nil {
		err = lock.Lock(filelocker.Reading(context.Background()), func() {})
	}
	if err == nil {
		err = lock.Unlock()
	}
	if err != nil {
		b.Fatal(err)
	}
}
