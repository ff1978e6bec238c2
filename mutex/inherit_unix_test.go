//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex_test

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// A holder that is killed holds nothing through the children it leaves behind, whether it made
// the file or found it.
func TestNotInherited(t *testing.T) {
	name := newName(t)
	mustNotBeInherited(t, name)
	mustNotBeInherited(t, name)

	// Nor does a child keep what its parent has released.
	mine := mustAcquire(t, wallSpec(name))
	child := start(t)
	mine.Release()
	child.Do("try "+name, "free")
	mustBeFree(t, name)
}

func mustNotBeInherited(t *testing.T, name string) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close() // ends the grandchild
	holder := start(t, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{r} })
	r.Close()
	holder.hold(name)
	holder.Tell("spawn")
	pid, err := strconv.Atoi(holder.Next())
	require.NoError(t, err)
	holder.Kill()
	mustAcquire(t, wallSpec(name)).Release()
	require.NoError(t, syscall.Kill(pid, 0), "the grandchild is gone")
}

// A free mutex is free for a single try also while children are being started, which have
// copies of all descriptors for a moment.
func TestFreeWhileChildrenStart(t *testing.T) {
	name := newName(t)
	childtest.Forks(t)
	for range 3000 {
		mustBeFree(t, name)
	}
}

// Whatever is killed, and wherever it is, and while the file is removed all the time.
func TestStorm(t *testing.T) {
	name, witness := newName(t), t.TempDir()+"/witness"
	launch := func() child {
		c := start(t)
		c.Tell("storm " + name + " " + witness)
		return c
	}
	children := []child{launch(), launch(), launch(), launch()}
	for i := range 60 {
		c := &children[i%len(children)]
		for range i % 7 {
			c.Expect("held")
		}
		_ = os.Remove(mutex.Path(name))
		c.Kill()
		*c = launch()
	}
	for _, c := range children {
		c.Expect("held")
		c.Kill()
	}
}
