package flock_test

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

func TestBetweenProcesses(t *testing.T) {
	s := setUp(t)
	other := s.start()
	other.Do("lock", "locked")
	s.held()
	other.Do("unlock", "unlocked")
	unlock := s.lock(bg())
	other.Do("try", "failed")
	other.Tell("lock")
	require.NoError(t, unlock())
	other.Expect("locked")
	other.Do("unlock", "unlocked")

	defer s.rlock(bg())()
	other.Do("rlock", "locked")
	other.Do("unlock", "unlocked")
	other.Do("try", "failed")
}

func TestKilledHolder(t *testing.T) {
	s := setUp(t)
	for range 5 {
		holder := s.start()
		holder.Do("lock", "locked")
		s.held()
		holder.Kill()
		s.free() // with a single try
	}
}

func TestNotInherited(t *testing.T) {
	s := setUp(t)
	t.Run("unlocked", func(t *testing.T) {
		holder := s.start()
		holder.Do("lock", "locked")
		holder.Do("spawn", "spawned")
		holder.Do("unlock", "unlocked")
		s.free()
		holder.killAll()
	})
	t.Run("killed", func(t *testing.T) {
		holder := s.start()
		holder.Do("lock", "locked")
		holder.Do("spawn", "spawned")
		require.NoError(t, holder.Process.Signal(os.Kill))
		require.NoError(t, syscall.Kill(-holder.Process.Pid, 0), "the grandchild is alive")
		before := s.stat()
		ctx, cancel := context.WithTimeout(bg(), flock.StaleAfter/2)
		defer cancel()
		require.NoError(t, s.lock(ctx)())
		require.True(t, os.SameFile(before, s.stat()))
		holder.killAll()
	})
}

// A child between fork and exec has a copy of every descriptor. It must not keep a lock that
// was given up in that moment, so here each first try must do.
func TestUnlockBesideForks(t *testing.T) {
	s := setUp(t)
	childtest.Forks(t)
	busy := 0
	for range 20_000 {
		unlock, err := flock.TryLock(done(), s.root)
		if err != nil {
			busy++
			continue
		}
		require.NoError(t, unlock())
	}
	require.Zero(t, busy)
}

// child is a helper process in a group of its own.
type child struct{ *childtest.Child }

func (s store) start() child {
	s.Helper()
	return child{childtest.Start(s, s.root.Name(), func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	})}
}

// killAll kills the process and those that it started.
func (c child) killAll() {
	c.Helper()
	require.NoError(c, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
	c.Kill()
}

func TestFrozenHolder(t *testing.T) {
	for _, order := range []string{"lock", "rlock"} {
		t.Run(order, func(t *testing.T) {
			s := setUp(t)
			holder := s.start()
			holder.Do(order, "locked")
			before := s.stat()
			holder.Freeze()
			s.held() // it is not stale yet
			s.age()
			unlock := s.lock(bg())
			mine := s.stat()
			require.False(t, os.SameFile(before, mine))
			holder.Thaw()
			holder.Do("try", "failed")
			holder.Do("unlock", "log lock was lost")
			holder.Expect("lost")
			require.Equal(t, mine, s.stat(), "the successor's file is left alone")
			s.held()
			require.NoError(t, unlock())
			holder.Do("lock", "locked")
			holder.Do("unlock", "unlocked")
		})
	}
}

// A holder that was frozen and replaced learns of it from its heartbeat, long before it
// unlocks. This takes one interval.
func TestFrozenHolderWakes(t *testing.T) {
	if testing.Short() {
		t.Skip("this test takes one heartbeat")
	}
	t.Parallel()
	s := store{TB: t}
	var err error
	s.root, err = os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer s.root.Close()
	holder := s.start()
	holder.Do("lock", "locked")
	holder.Freeze()
	s.age()
	unlock := s.lock(bg())
	holder.Thaw()
	holder.Expect("log lock was lost")
	require.NoError(t, unlock())
	holder.Do("unlock", "lost")
}

// Of all who find one stale lock at the same time one gets it, and until that one lets go no
// other does.
func TestOneHeir(t *testing.T) {
	const processes, goroutines, rounds = 4, 8, 15
	s := setUp(t)
	children := make([]child, processes)
	for i := range children {
		children[i] = s.start()
	}
	for _, left := range []string{"frozen", "killed"} {
		t.Run(left, func(t *testing.T) {
			for range rounds {
				holder := s.start()
				holder.Do("lock", "locked")
				if left == "frozen" {
					holder.Freeze()
				} else {
					holder.Kill()
				}
				s.age()
				for _, c := range children {
					c.Tell("contend")
				}
				var heirs []child
				for _, c := range children {
					for range goroutines {
						if event := c.Next(); event == "locked" {
							heirs = append(heirs, c)
						} else {
							require.Equal(t, "failed", event)
						}
					}
				}
				require.Len(t, heirs, 1)
				heirs[0].Do("unlock", "unlocked")
				holder.Kill()
			}
		})
	}
}

// Many processes lock, let their files go stale, wake up from that, and are killed, while a
// second kernel lock watches that nobody is inside with somebody else.
func TestStorm(t *testing.T) {
	s := setUp(t)
	length := 3 * time.Second
	if testing.Short() {
		length = time.Second
	}
	children := make(map[child]int)
	add := func() {
		c := s.start()
		c.Tell("storm")
		children[c] = 0
	}
	for range 4 {
		add()
	}
	cycles := 0
	for end := time.Now().Add(length); time.Now().Before(end); {
		for c := range children {
			require.Equal(t, "cycle", c.Next())
			cycles++
			if children[c]++; children[c] > 20 {
				c.Kill()
				delete(children, c)
				add()
			}
		}
	}
	t.Log(cycles, "cycles")
}
