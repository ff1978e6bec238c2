package touchfile_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func TestBetweenProcesses(t *testing.T) {
	tf := setUp(t)
	other := start(t, tf.Path())
	other.Do("lock", "locked")
	mustBlock(t, tf, touchfile.Exclusive)
	mustBlock(t, tf, touchfile.Shared)
	other.Do("unlock", "unlocked")
	require.NoError(t, tf.ExclusiveLock(bg()))
	other.Do("try", "lock "+tf.Path()+": context deadline exceeded")
	other.Tell("lock")
	require.NoError(t, tf.Unlock())
	other.Expect("locked")
	other.Do("unlock", "unlocked")

	other.Do("rlock", "locked")
	require.NoError(t, tf.SharedLock(bg()))
	mustBlock(t, tf, touchfile.Exclusive)
	require.NoError(t, tf.Unlock())
	mustBlock(t, tf, touchfile.Exclusive)
	other.Do("unlock", "unlocked")
	mustBeFree(t, tf)
}

func TestCounting(t *testing.T) {
	tf := setUp(t)
	path := filepath.Join(filepath.Dir(tf.Path()), "count")
	require.NoError(t, os.WriteFile(path, []byte("0"), 0o600))
	const processes = 4
	children := make([]*childtest.Child, processes)
	for i := range children {
		children[i] = start(t, tf.Path())
		children[i].Tell("count " + path)
	}
	for _, c := range children {
		c.Expect("counted")
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(processes*countGoroutines*countTimes), string(got))
}

// The goroutines of one process do not keep the lock among themselves for ever.
func TestBusyProcess(t *testing.T) {
	tf := setUp(t)
	other := start(t, tf.Path())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := tf.WithLock(bg(), touchfile.Exclusive, func() error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		other.Do("lock", "locked")
		other.Do("unlock", "unlocked")
	}
	close(stop)
	wg.Wait()
}

func TestKilledHolder(t *testing.T) {
	tf := setUp(t)
	for _, order := range []string{"lock", "rlock", "lock"} {
		holder := start(t, tf.Path())
		holder.Do(order, "locked")
		mustBlock(t, tf, touchfile.Exclusive)
		holder.Kill()
		mustBeFree(t, tf)
	}
}

// A lock lasts as long as the process that does not give it up, and not as long as its
// TouchFile is in use.
func TestForgottenHolder(t *testing.T) {
	tf := setUp(t)
	holder := start(t, tf.Path())
	holder.Do("forget", "locked")
	for range 3 {
		holder.Do("collect", "collected")
	}
	mustBlock(t, tf, touchfile.Shared)
	holder.Kill()
	mustBeFree(t, tf)
}
