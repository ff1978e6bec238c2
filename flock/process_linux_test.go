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
)

func TestBetweenProcesses(t *testing.T) {
	s := setUp(t)
	other := s.start()
	other.do("lock", "locked")
	s.held()
	other.do("unlock", "unlocked")
	unlock := s.lock(bg())
	other.do("try", "failed")
	other.tell("lock")
	require.NoError(t, unlock())
	other.expect("locked")
	other.do("unlock", "unlocked")

	defer s.rlock(bg())()
	other.do("rlock", "locked")
	other.do("unlock", "unlocked")
	other.do("try", "failed")
}

func TestKilledHolder(t *testing.T) {
	s := setUp(t)
	for range 5 {
		holder := s.start()
		holder.do("lock", "locked")
		s.held()
		holder.kill()
		s.free() // with a single try
	}
}

func TestNotInherited(t *testing.T) {
	s := setUp(t)
	t.Run("unlocked", func(t *testing.T) {
		holder := s.start()
		holder.do("lock", "locked")
		holder.do("spawn", "spawned")
		holder.do("unlock", "unlocked")
		s.free()
		holder.killAll(t)
	})
	t.Run("killed", func(t *testing.T) {
		holder := s.start()
		holder.do("lock", "locked")
		holder.do("spawn", "spawned")
		require.NoError(t, holder.cmd.Process.Signal(os.Kill))
		require.NoError(t, syscall.Kill(-holder.cmd.Process.Pid, 0), "the grandchild is alive")
		before := s.stat()
		ctx, cancel := context.WithTimeout(bg(), flock.StaleAfter/2)
		defer cancel()
		require.NoError(t, s.lock(ctx)())
		require.True(t, os.SameFile(before, s.stat()))
		holder.killAll(t)
	})
}

// A child between fork and exec has a copy of every descriptor. It must not keep a lock that
// was given up in that moment, so here each first try must do.
func TestUnlockBesideForks(t *testing.T) {
	s := setUp(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.Command("/bin/true").Run()
			}
		}
	}()
	busy := 0
	for range 20_000 {
		unlock, err := flock.TryLock(done(), s.root)
		if err != nil {
			busy++
			continue
		}
		require.NoError(t, unlock())
	}
	close(stop)
	<-stopped
	require.Zero(t, busy)
}

// killAll kills the process and those that it started.
func (c *child) killAll(t *testing.T) {
	require.NoError(t, syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL))
	c.kill()
}

// freeze stops the process and waits until it stands still.
func (c *child) freeze() {
	c.s.Helper()
	require.NoError(c.s, c.cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(c.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(c.s, err)
	require.True(c.s, status.Stopped())
}

func (c *child) thaw() {
	c.s.Helper()
	require.NoError(c.s, c.cmd.Process.Signal(syscall.SIGCONT))
}

func TestFrozenHolder(t *testing.T) {
	for _, order := range []string{"lock", "rlock"} {
		t.Run(order, func(t *testing.T) {
			s := setUp(t)
			holder := s.start()
			holder.do(order, "locked")
			before := s.stat()
			holder.freeze()
			s.held() // it is not stale yet
			s.age()
			unlock := s.lock(bg())
			mine := s.stat()
			require.False(t, os.SameFile(before, mine))
			holder.thaw()
			holder.do("try", "failed")
			holder.do("unlock", "log lock was lost")
			holder.expect("lost")
			require.Equal(t, mine, s.stat(), "the successor's file is left alone")
			s.held()
			require.NoError(t, unlock())
			holder.do("lock", "locked")
			holder.do("unlock", "unlocked")
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
	holder.do("lock", "locked")
	holder.freeze()
	s.age()
	unlock := s.lock(bg())
	holder.thaw()
	holder.expect("log lock was lost")
	require.NoError(t, unlock())
	holder.do("unlock", "lost")
}

// Of all who find one stale lock at the same time one gets it, and until that one lets go no
// other does.
func TestOneHeir(t *testing.T) {
	const processes, goroutines, rounds = 4, 8, 15
	s := setUp(t)
	children := make([]*child, processes)
	for i := range children {
		children[i] = s.start()
	}
	for _, left := range []string{"frozen", "killed"} {
		t.Run(left, func(t *testing.T) {
			for range rounds {
				holder := s.start()
				holder.do("lock", "locked")
				if left == "frozen" {
					holder.freeze()
				} else {
					holder.kill()
				}
				s.age()
				for _, c := range children {
					c.tell("contend")
				}
				var heirs []*child
				for _, c := range children {
					for range goroutines {
						if event := c.next(); event == "locked" {
							heirs = append(heirs, c)
						} else {
							require.Equal(t, "failed", event)
						}
					}
				}
				require.Len(t, heirs, 1)
				heirs[0].do("unlock", "unlocked")
				holder.kill()
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
	children := make(map[*child]int)
	add := func() {
		c := s.start()
		c.tell("storm")
		children[c] = 0
	}
	for range 4 {
		add()
	}
	cycles := 0
	for end := time.Now().Add(length); time.Now().Before(end); {
		for c := range children {
			require.Equal(t, "cycle", c.next())
			cycles++
			if children[c]++; children[c] > 20 {
				c.kill()
				delete(children, c)
				add()
			}
		}
	}
	t.Log(cycles, "cycles")
}
