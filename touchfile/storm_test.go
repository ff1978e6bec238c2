package touchfile_test

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

// Goroutines lock one object and others of the same path, give up after random times, and the
// race detector and two counters watch.
func TestStorm(t *testing.T) {
	tf := setUp(t)
	objects := []*touchfile.TouchFile{tf, tf, tf, at(t, tf.Path())}
	var writers, readers, locked, given atomic.Int32
	shared := 0 // for the race detector
	stop := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			tf := objects[i%len(objects)]
			for time.Now().Before(stop) {
				ctx, cancel := context.WithTimeout(bg(), time.Duration(rand.IntN(5_000))*time.Microsecond)
				kind := touchfile.LockType(rand.IntN(2))
				if tf.Lock(ctx, kind) != nil {
					given.Add(1)
					cancel()
					continue
				}
				cancel()
				locked.Add(1)
				if kind == touchfile.Exclusive {
					w := writers.Add(1)
					if r := readers.Load(); w != 1 || r != 0 {
						t.Errorf("a writer beside %d writers and %d readers", w-1, r)
					}
					shared++
					writers.Add(-1)
				} else {
					readers.Add(1)
					if w := writers.Load(); w != 0 {
						t.Errorf("a reader beside %d writers", w)
					}
					_ = shared
					readers.Add(-1)
				}
				if err := tf.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Log(locked.Load(), "locked,", given.Load(), "gave up")
	mustBeFree(t, tf)
}

// The same on one object, while a stranger removes the file again and again.
func TestStormWithoutFile(t *testing.T) {
	tf := setUp(t)
	stop := time.Now().Add(500 * time.Millisecond)
	var wg sync.WaitGroup
	var holders []int
	var mu sync.RWMutex
	for i := range 16 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				kind := touchfile.LockType(rand.IntN(2))
				err := tf.WithLock(bg(), kind, func() error {
					if kind == touchfile.Exclusive {
						if !mu.TryLock() {
							t.Error("not alone")
							return nil
						}
						defer mu.Unlock()
						holders = append(holders, i)
					} else {
						if !mu.TryRLock() {
							t.Error("a writer is inside")
							return nil
						}
						defer mu.RUnlock()
						_ = slices.Max(append([]int{0}, holders[max(0, len(holders)-1):]...))
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for time.Now().Before(stop) {
			_ = os.Remove(tf.Path())
			time.Sleep(100 * time.Microsecond)
		}
	})
	wg.Wait()
	mustBeFree(t, tf)
}
