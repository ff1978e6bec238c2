package filelocker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// The clock in these tests is not the machine's: they say when something happens, and take
// no time.

func bubble(t *testing.T, f func(t *testing.T, l filelocker.FileLocker)) {
	t.Helper()
	dir := t.TempDir()
	require.Eventually(t, filelocker.Quiet, time.Minute, time.Millisecond, "timers of another test must not fire here")
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute) // until the directory is closed
		f(t, filelocker.New(dir).Polling())
	})
}

func newLock(t *testing.T, l filelocker.FileLocker, id string) handler.Lock {
	t.Helper()
	lock, err := l.NewLock(id)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			_ = lock.Unlock()
		}
	})
	return lock
}

func nothing() {}

func TestTimeoutWithinTheProcess(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		holder := newLock(t, l, "x")
		require.NoError(t, holder.Lock(t.Context(), nothing))

		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.Equal(t, error(handler.ErrLockTimeout), newLock(t, l, "x").Lock(ctx, nothing))
		require.Equal(t, 5*time.Second, time.Since(start))
		require.NoError(t, holder.Unlock())
	})
}

// A waiter that gives up leaves its place to those behind it.
func TestFirstComeFirstServed(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		holder := newLock(t, l, "x")
		require.NoError(t, holder.Lock(t.Context(), nothing))
		order := make(chan int, 5)
		for i := range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i == 2 {
				time.AfterFunc(time.Second, cancel)
			}
			go func() {
				lock := newLock(t, l, "x")
				if lock.Lock(ctx, nothing) == nil {
					order <- i
					if err := lock.Unlock(); err != nil {
						t.Error(err)
					}
				}
			}()
			synctest.Wait() // it stands in line
		}
		time.Sleep(2 * time.Second)
		require.NoError(t, holder.Unlock())
		synctest.Wait()
		close(order)
		var got []int
		for i := range order {
			got = append(got, i)
		}
		require.Equal(t, []int{0, 1, 3, 4}, got)
	})
}

func TestHolderLooksForRequests(t *testing.T) {
	for _, every := range []time.Duration{0, -1, 100 * time.Millisecond, 7 * time.Second} {
		t.Run(fmt.Sprint(every), func(t *testing.T) {
			bubble(t, func(t *testing.T, l filelocker.FileLocker) {
				l.HolderPollInterval = every
				if every <= 0 {
					every = filelocker.DefaultHolderPollInterval
				}
				var asked atomic.Int32
				lock := newLock(t, l, "x")
				require.NoError(t, lock.Lock(t.Context(), func() { asked.Add(1) }))
				time.Sleep(every + every/2)
				require.Zero(t, asked.Load(), "nobody has asked")

				require.NoError(t, os.WriteFile(filepath.Join(l.Path, "x.stop"), nil, 0o600))
				time.Sleep(every)
				require.EqualValues(t, 1, asked.Load())
				time.Sleep(10 * every)
				require.EqualValues(t, 1, asked.Load(), "a holder is asked once")
				require.NoError(t, lock.Unlock())
			})
		})
	}
}

func TestWaiterLooksAgain(t *testing.T) {
	for _, every := range []time.Duration{0, 100 * time.Millisecond, 7 * time.Second} {
		t.Run(fmt.Sprint(every), func(t *testing.T) {
			bubble(t, func(t *testing.T, l filelocker.FileLocker) {
				l.AcquirerPollInterval = every
				l.HolderPollInterval = time.Hour
				if every == 0 {
					every = filelocker.DefaultAcquirerPollInterval
				}
				// A stock holder that lives: it did not start after its file was written.
				file := filepath.Join(l.Path, "x.lock")
				require.NoError(t, os.WriteFile(file, fmt.Appendln(nil, os.Getppid()), 0o600))
				require.NoError(t, os.Chtimes(file, time.Time{}, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))

				var freed atomic.Pointer[time.Time]
				time.AfterFunc(time.Minute, func() {
					now := time.Now()
					freed.Store(&now)
					if err := os.Remove(file); err != nil {
						t.Error(err)
					}
				})
				lock := newLock(t, l, "x")
				require.NoError(t, lock.Lock(t.Context(), nothing))
				require.NotNil(t, freed.Load(), "the stock holder was robbed")
				require.LessOrEqual(t, time.Since(*freed.Load()), every)
				require.NoError(t, lock.Unlock())

				left, err := os.ReadDir(l.Path)
				require.NoError(t, err)
				require.Empty(t, left)
			})
		})
	}
}

// An empty lock file is one being created, and left over once that has taken 10 seconds.
func TestEmptyLockFile(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		file := filepath.Join(l.Path, "x.lock")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.Chtimes(file, time.Time{}, time.Now()))
		start := time.Now()
		lock := newLock(t, l, "x")
		require.NoError(t, lock.Lock(t.Context(), nothing))
		require.GreaterOrEqual(t, time.Since(start), 10*time.Second)
		require.LessOrEqual(t, time.Since(start), 10*time.Second+filelocker.DefaultAcquirerPollInterval)
		require.NoError(t, lock.Unlock())
	})
}
