package touchfile_test

import (
	"os"
	"path/filepath"
	"strconv"
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
