package touchfile_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func TestBetweenProcesses(t *testing.T) {
	tf := setUp(t)
	other := start(t, tf.Path())
	other.do("lock", "locked")
	mustBlock(t, tf, touchfile.Exclusive)
	mustBlock(t, tf, touchfile.Shared)
	other.do("unlock", "unlocked")
	require.NoError(t, tf.ExclusiveLock(bg()))
	other.do("try", "lock "+tf.Path()+": context deadline exceeded")
	other.tell("lock")
	require.NoError(t, tf.Unlock())
	other.expect("locked")
	other.do("unlock", "unlocked")

	other.do("rlock", "locked")
	require.NoError(t, tf.SharedLock(bg()))
	mustBlock(t, tf, touchfile.Exclusive)
	require.NoError(t, tf.Unlock())
	mustBlock(t, tf, touchfile.Exclusive)
	other.do("unlock", "unlocked")
	mustBeFree(t, tf)
}

func TestCounting(t *testing.T) {
	tf := setUp(t)
	path := filepath.Join(filepath.Dir(tf.Path()), "count")
	require.NoError(t, os.WriteFile(path, []byte("0"), 0o600))
	const processes = 4
	children := make([]*child, processes)
	for i := range children {
		children[i] = start(t, tf.Path())
		children[i].tell("count " + path)
	}
	for _, c := range children {
		c.expect("counted")
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
		other.do("lock", "locked")
		other.do("unlock", "unlocked")
	}
	close(stop)
	wg.Wait()
}

func TestKilledHolder(t *testing.T) {
	tf := setUp(t)
	for _, order := range []string{"lock", "rlock", "lock"} {
		holder := start(t, tf.Path())
		holder.do(order, "locked")
		mustBlock(t, tf, touchfile.Exclusive)
		holder.kill()
		mustBeFree(t, tf)
	}
}

// A lock lasts as long as the process that does not give it up, and not as long as its
// TouchFile is in use.
func TestForgottenHolder(t *testing.T) {
	tf := setUp(t)
	holder := start(t, tf.Path())
	holder.do("forget", "locked")
	for range 3 {
		holder.do("collect", "collected")
	}
	mustBlock(t, tf, touchfile.Shared)
	holder.kill()
	mustBeFree(t, tf)
}
