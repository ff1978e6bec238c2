package filelocker_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// Few PIDs, so that each soon is another process's: that of a dead holder says nothing.
func TestRecycledPIDs(t *testing.T) {
	t.Parallel()
	f := setUpMixed(t)
	if !smallNamespace(f) {
		return
	}
	t.Run("a stock holder's", recycledStock)
	t.Run("an older bystander's", recycledTooEarly)
	t.Run("a thread's", recycledThread)
	t.Run("ours", recycledOurs)
	t.Run("without kernel locks", recycledHeartbeat)
	t.Run("the successor's own", recycledOwn)
	t.Run("another holder's", recycledHolder)
}

// A dead stock holder's PID is that of a process which has nothing to do with locks.
func recycledStock(t *testing.T) {
	f := setUp(t)
	for range 2 {
		pid, after := leftByStock(f, "a"), later()
		f.mustContain("a.lock", strconv.Itoa(pid)+"\n")
		b := recycle(f, pid, after)
		require.NoError(t, b.Process.Signal(syscall.Signal(0)), "the PID must be in use")
		f.hold("a").unlock()
		f.mustHold()
	}
}

// leftByStock has a stock process take a lock and be killed.
func leftByStock(f *fixture, id string) (pid int) {
	f.Helper()
	holder := f.start(asStock)
	holder.tell("lock " + id)
	holder.expect("locked " + id)
	f.mustBeBusy(id)
	holder.kill()
	return holder.cmd.Process.Pid
}

// A process that may be the holder is taken for it, for as long as it is there.
func recycledTooEarly(t *testing.T) {
	f := setUp(t)
	b := newBystander(f)
	defer b.end()
	f.leave("a.lock", strconv.Itoa(b.Process.Pid)+"\n", 0)
	for range 3 {
		f.mustBeBusy("a")
	}
	g, done := f.queue(context.Background(), "a")
	b.end()
	require.NoError(t, receive(f, done, "the lock of a dead process"))
	g.unlock()
	f.mustHold()
}

// Threads have numbers from the same range, and kill(2) finds them by these.
func recycledThread(t *testing.T) {
	f := setUp(t)
	tasks, err := filepath.Glob("/proc/self/task/*")
	require.NoError(t, err)
	for _, task := range tasks {
		if filepath.Base(task) == strconv.Itoa(os.Getpid()) {
			continue
		}
		thread, err := strconv.Atoi(filepath.Base(task))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(thread, 0))
		f.leave("a.lock", fmt.Sprintln(thread), time.Hour)
		f.hold("a").unlock()
		f.mustHold()
	}
	require.Greater(t, len(tasks), 1)
}

// Our own locks do not depend on the PID, and need no margin of time.
func recycledOurs(t *testing.T) {
	f := setUp(t)
	for range 3 {
		holder := f.start()
		holder.tell("lock a")
		holder.expect("locked a")
		holder.kill()
		recycle(f, holder.cmd.Process.Pid, time.Time{})
		f.hold("a").unlock()
		f.mustHold()
	}
}

// Where kernel locks cannot be tried, the PID and the start of its process are looked at.
func recycledHeartbeat(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	after := later()
	holder.tell("lock a")
	holder.expect("locked a")
	content, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	kept := bytes.Replace(content, []byte(`"keeps":"kernel"`), []byte(`"keeps":"heartbeat"`), 1)
	require.NotEqual(t, content, kept)
	liveness, why, _ := filelocker.Judge(kept, time.Now(), false, true)
	require.Equal(t, "alive", liveness, why)
	holder.kill()
	recycle(f, holder.cmd.Process.Pid, after)
	liveness, why, silent := filelocker.Judge(kept, time.Now(), false, true)
	require.Equal(t, "dead", liveness, why)
	require.Zero(t, silent, why)
	f.hold("a").unlock()
	f.mustHold()
}

// The server that comes after a killed stock one has its very PID, as in a container.
func recycledOwn(t *testing.T) {
	f := setUp(t)
	pid := leftByStock(f, "a")
	f.age("a.lock", time.Second)
	next := startAs(f, pid)
	next.tell("lock a")
	next.expect("locked a")
	f.mustBeBusy("a") // whose PID was a dead holder's, is not robbed for it
	next.unlock("a")
	f.mustHold()
}

// A dead holder's PID is that of a live holder: the dead one's lock is taken, and the live
// one's is not.
func recycledHolder(t *testing.T) {
	for name, options := range map[string][]func(*exec.Cmd, *childSpec){"ours": nil, "stock": {asStock}} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			pid := leftByStock(f, "a")
			f.age("a.lock", time.Minute)
			live := startAs(f, pid, options...)
			live.tell("lock b")
			live.expect("locked b")
			mine, dead := firstLine(f, "b.lock"), firstLine(f, "a.lock")
			require.Equal(t, dead, mine)

			f.hold("a").unlock()
			for range 3 {
				f.mustBeBusy("b")
			}
			live.unlock("b")
			f.mustHold()
		})
	}
}

func firstLine(f *fixture, name string) string {
	f.Helper()
	content, err := os.ReadFile(f.path(name))
	require.NoError(f, err)
	line, _, _ := strings.Cut(string(content), "\n")
	return line
}

func (f *fixture) mustContain(name, content string) {
	f.Helper()
	found, err := os.ReadFile(f.path(name))
	require.NoError(f, err)
	require.Equal(f, content, string(found))
}

// age has a file look as if it had not been touched for so long.
func (f *fixture) age(name string, by time.Duration) {
	f.Helper()
	past := time.Now().Add(-by)
	require.NoError(f, os.Chtimes(f.path(name), past, past))
}

// later is after the margin within which a start cannot be told from the one before.
func later() time.Time { return time.Now().Add(1100 * time.Millisecond) }
