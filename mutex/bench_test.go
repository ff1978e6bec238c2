package mutex_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// BenchmarkUncontended takes and gives back what nobody else wants. On Linux half of the
// mutex's time is the socket's, most of it the kernel's for making and closing one.
func BenchmarkUncontended(b *testing.B) {
	for _, l := range lockers(b) {
		b.Run(l.name, func(b *testing.B) {
			lock := l.new()
			for b.Loop() {
				lock()()
			}
		})
	}
}

// BenchmarkContended has eight goroutines after the same lock, each holding it for a moment.
func BenchmarkContended(b *testing.B) {
	for _, l := range lockers(b) {
		b.Run(l.name, func(b *testing.B) {
			const goroutines = 8
			var all sync.WaitGroup
			for i := range goroutines {
				n := b.N / goroutines
				if i < b.N%goroutines {
					n++
				}
				lock := l.new()
				all.Go(func() {
					for range n {
						lock()()
					}
				})
			}
			all.Wait()
		})
	}
}

type locker struct {
	name string
	new  func() (lock func() (unlock func()))
}

func lockers(b *testing.B) []locker {
	spec := mutex.Spec{Name: newName(b), Clock: wall{}, Delay: 10 * time.Millisecond}
	path := filepath.Join(b.TempDir(), "lock")
	return []locker{
		{"mutex", func() func() func() {
			return func() func() {
				m, err := mutex.Acquire(spec)
				if err != nil {
					panic(err)
				}
				return m.Release
			}
		}},
		{"gofrs-flock", func() func() func() {
			f := flock.New(path)
			return func() func() {
				if err := f.Lock(); err != nil {
					panic(err)
				}
				return func() {
					if err := f.Unlock(); err != nil {
						panic(err)
					}
				}
			}
		}},
	}
}
