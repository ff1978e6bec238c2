package filelocker_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var stoppedFor = flag.Duration("stopped", 11*time.Second, "how long holders are stopped in the test of that")

// A holder is stopped for longer than anything in the locker lasts, and its file looks as if
// that had been an hour. It keeps its lock, and hears of the waiter when it goes on.
func TestStoppedBeyondEveryTimeout(t *testing.T) {
	t.Parallel() // it takes its time
	var all []*standstill
	for _, dir := range []string{t.TempDir(), mountBindfs(t)} {
		all = append(all, standStill(setUpIn(t, underTest(), dir, quick)))
	}
	robbed := make(chan error, len(all))
	for _, s := range all {
		go func() { robbed <- <-s.done }()
	}
	select {
	case err := <-robbed:
		require.FailNow(t, "a stopped holder was robbed", "%v", err)
	case <-time.After(*stoppedFor):
	}
	for _, s := range all {
		s.mustContain("a.lock", s.mine)
		s.holder.thaw()
		s.holder.expect("asked a")
		require.Empty(t, robbed, "it still is the holder")
		s.holder.tell("unlock a")
		s.holder.expect("unlocked a")
		require.NoError(t, receive(s.fixture, robbed, "the lock"))
		s.next.unlock()
		s.mustBecomeEmpty()
	}
}

// standstill is a holder that is stopped while somebody waits for its lock.
type standstill struct {
	*fixture
	holder *child
	mine   string // its lock file
	next   *grip
	done   <-chan error
}

func standStill(f *fixture) *standstill {
	f.Helper()
	s := &standstill{fixture: f, holder: f.start()}
	s.holder.tell("lock a")
	s.holder.expect("locked a")
	s.holder.freeze()
	f.mustBeBusy("a")
	mine, err := os.ReadFile(f.path("a.lock"))
	require.NoError(f, err)
	s.mine = string(mine)
	f.age("a.lock", time.Hour)
	s.next, s.done = f.queue(context.Background(), "a")
	return s
}

// freeze stops all of the process, and returns when it stands still.
func (c *child) freeze() {
	c.f.Helper()
	c.f.Cleanup(c.kill) // it would not end by itself
	require.NoError(c.f, c.cmd.Process.Signal(syscall.SIGSTOP))
	require.Eventually(c.f, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		return err == nil && bytes.Contains(stat, []byte(") T "))
	}, c.f.patience(), time.Millisecond, "the process does not stop")
}

func (c *child) thaw() {
	c.f.Helper()
	require.NoError(c.f, c.cmd.Process.Signal(syscall.SIGCONT))
}
