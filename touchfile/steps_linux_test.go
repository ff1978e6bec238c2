package touchfile_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

// While one process stands still somewhere in Lock the file is removed and another one locks
// the new file. Unless the first one had the lock by then, it does not get it on the old file.
func TestRemovedUnderWay(t *testing.T) {
	childtest.NeedStrace(t)
	tf := setUp(t)
	c := start(t, tf.Path())
	steps, late := 0, 0
	for _, call := range []string{"openat", "fstat", "flock", "newfstatat"} {
		for n := 1; ; n++ {
			mustBeFree(t, tf)
			tr := c.Inject(childtest.At(call, n, childtest.Stopping))
			c.Tell("lock")
			stopped := tr.Stopped("locked")
			if stopped {
				steps++
				require.NoError(t, os.Remove(tf.Path()))
				require.NoError(t, tf.ExclusiveLock(bg()))
				c.Thaw()
				select {
				case event := <-c.Events:
					require.Equal(t, "locked", event)
					late++
					require.NoError(t, tf.Unlock())
				case <-time.After(20 * time.Millisecond): // long enough to see it fail where it can
					require.NoError(t, tf.Unlock())
					c.Expect("locked")
				}
			}
			tr.Detach()
			c.Do("unlock", "unlocked")
			if !stopped {
				break
			}
		}
	}
	require.LessOrEqual(t, late, 1, "the look at the name is the last thing that it does")
	require.GreaterOrEqual(t, steps, 4)
}

// Some file systems are interrupted by signals, and some lock only what is open for writing.
func TestInjectedErrors(t *testing.T) {
	childtest.NeedStrace(t)
	tf := setUp(t)
	mustBeFree(t, tf)
	c := start(t, tf.Path())
	for _, failure := range [][2]string{
		{"openat", "EINTR"}, {"fstat", "EINTR"}, {"flock", "EINTR"}, {"newfstatat", "EINTR"},
		{"flock", "EBADF"}, {"flock", "EIO"},
	} {
		tr := c.Inject(childtest.At(failure[0], 1, "error="+failure[1]))
		c.Do("lock", "locked")
		tr.Detach()
		c.Do("unlock", "unlocked")
	}
	tr := c.Inject(childtest.At("openat", 1, "error=EMFILE"))
	c.Do("lock", "open "+tf.Path()+": too many open files")
	tr.Detach()
	tr = c.Inject(childtest.At("flock", 1, "error=ENOLCK"))
	c.Do("lock", "lock "+tf.Path()+": flock: unsupported operation: no locks available")
	tr.Detach()
	mustBeFree(t, tf)
}
