package filelocker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// No inotify watch is left, though an instance is: the intervals are what remains.
func TestWithoutWatches(t *testing.T) {
	const forbid = "echo 0 >/proc/sys/user/max_inotify_watches"
	f := setUp(t)
	err := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", forbid).Run()
	need(f, "unshare, and the right to make user namespaces", err == nil)
	blind := f.start(func(cmd *exec.Cmd, spec *childSpec) {
		cmd.Args = []string{"unshare", "--user", "--map-root-user", "sh", "-c", forbid + "; exec " + cmd.Path}
		cmd.Path, cmd.Err = exec.LookPath("unshare")
		spec.Set = settings{Holder: 5 * time.Millisecond, Acquirer: 5 * time.Millisecond}
	})
	blind.cycle("a") // after which Go's poller stays open
	before := openFiles(f, blind.cmd.Process.Pid)
	for range 5 {
		blind.tell("yield a")
		blind.expect("locked a")
		g := f.hold("a")
		blind.expect("asked a", "unlocked a")
		blind.tell("lock a")
		g.mustBeAsked()
		require.Eventually(t, func() bool { // it may be asking for one again
			isInotify := func(to string) bool { return strings.Contains(to, "inotify") }
			return !slices.ContainsFunc(openFiles(f, blind.cmd.Process.Pid), isInotify)
		}, f.patience(), time.Millisecond, "the process has no watch to keep it for")
		g.unlock()
		blind.expect("locked a")
		blind.unlock("a")
		f.mustHold()
	}
	blind.mustHaveOpen(before)
}

// cycle has the process lock and unlock.
func (c *child) cycle(id string) {
	c.f.Helper()
	c.tell("lock " + id)
	c.expect("locked " + id)
	c.unlock(id)
}

// overflow makes more events in the directory than the kernel keeps for one who does not read
// them, which this process does not do either.
func overflow(f *fixture) {
	f.Helper()
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	require.NoError(f, err)
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(f, err)
	need(f, "a queue of events that can be filled", limit <= 1<<18)
	witness, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(f, err)
	defer unix.Close(witness)
	_, err = unix.InotifyAddWatch(witness, f.dir, unix.IN_ATTRIB)
	require.NoError(f, err)
	names := [2]string{f.path("x"), f.path("y")} // an event that is like the last one is dropped
	for _, name := range names {
		require.NoError(f, os.WriteFile(name, nil, 0o600))
	}
	for i := range limit + 2 {
		require.NoError(f, unix.Chmod(names[i%2], 0o600))
	}
	for _, name := range names {
		require.NoError(f, os.Remove(name))
	}
	require.True(f, overflown(f, witness), "the kernel has dropped no event")
}

// overflown reads what the kernel has kept.
func overflown(f *fixture, inotify int) bool {
	f.Helper()
	for buf := make([]byte, 1<<16); ; {
		n, err := unix.Read(inotify, buf)
		if err != nil {
			require.Equal(f, unix.EAGAIN, err)
			return false
		}
		for rest := buf[:n]; len(rest) > 0; {
			mask, length := binary.NativeEndian.Uint32(rest[4:]), binary.NativeEndian.Uint32(rest[12:])
			if mask&unix.IN_Q_OVERFLOW != 0 {
				return true
			}
			rest = rest[unix.SizeofInotifyEvent+length:]
		}
	}
}

// What the kernel dropped, because its queue was full, is found all the same. No interval and
// no second event helps here.
func TestOverflowLosesNothing(t *testing.T) {
	f := setUp(t)
	deaf := func(_ *exec.Cmd, spec *childSpec) { spec.Set = settings{Holder: time.Hour, Acquirer: time.Hour} }
	t.Run("request", func(t *testing.T) {
		f := setUp(t)
		holder, waiter := f.start(deaf), f.start(deaf)
		holder.tell("lock a")
		holder.expect("locked a")
		holder.settle()
		holder.stop()
		overflow(f)
		waiter.tell("lock a")
		waiter.stopAtRest("a") // so that it does not touch its request again
		holder.resume()
		holder.expect("asked a")
		holder.unlock("a")
		waiter.resume()
		waiter.expect("locked a")
		waiter.unlock("a")
		f.mustHold()
	})
	t.Run("loss", func(t *testing.T) {
		f := setUp(t)
		holder := f.start(deaf)
		holder.tell("lock a")
		holder.expect("locked a")
		holder.settle()
		holder.stop()
		overflow(f)
		require.NoError(t, os.Remove(f.path("a.lock")))
		holder.resume()
		holder.expect("asked a")
		holder.tell("unlock a")
		require.Contains(t, holder.next(), "kept a: ")
		f.mustHold()
	})
	t.Run("release", func(t *testing.T) {
		f := setUp(t)
		waiter := f.start(deaf)
		g := f.hold("a")
		waiter.tell("lock a")
		g.mustBeAsked()
		waiter.stopAtRest("a")
		overflow(f)
		g.unlock()
		waiter.resume()
		waiter.expect("locked a")
		waiter.unlock("a")
		f.mustHold()
	})
	f.mustHold()
}

// The whole directory is removed and made anew under processes that hold, wait and read. They
// are told, and go on in the new one.
func TestDirectoryIsMadeAnewUnderProcesses(t *testing.T) {
	f := setUp(t)
	f.dir = f.path("uploads")
	f.locker = f.kind.locker(f.dir, f.set)
	require.NoError(t, os.Mkdir(f.dir, 0o777))
	holder, reader, waiter := f.start(), f.start(), f.start()
	processes := []*child{holder, reader, waiter}
	var before [][]string
	for _, c := range processes {
		c.cycle("a")
		before = append(before, openFiles(f, c.cmd.Process.Pid))
	}
	for range 3 {
		holder.tell("lock a")
		holder.expect("locked a")
		reader.tell("read b")
		reader.expect("locked b")
		waiter.tell("lock a")
		holder.expect("asked a")
		require.Eventually(t, func() bool { return os.RemoveAll(f.dir) == nil },
			f.patience(), time.Millisecond, "the waiter puts files there now and then")
		reader.expect("asked b")
		event := waiter.next()
		if event == "locked a" { // between the removal of the file and that of the directory
			waiter.expect("asked a")
			waiter.tell("unlock a")
			event = waiter.next()
		}
		require.Regexp(t, "^(failed|kept) a: ", event)
		require.Contains(t, event, f.dir)
		require.NoError(t, os.Mkdir(f.dir, 0o777))
		// Who has lost its lock keeps nobody out, and does not harm who comes next.
		waiter.tell("lock a")
		waiter.expect("locked a")
		for c, id := range map[*child]string{holder: "a", reader: "b"} {
			c.tell("unlock " + id)
			lost := c.next()
			require.Contains(t, lost, "kept "+id+": ")
			require.Contains(t, lost, f.path(id+".lock"))
		}
		f.mustHold("a.lock")
		f.mustBeBusy("a")
		waiter.unlock("a")
		f.mustHold()
	}
	for i, c := range processes {
		c.mustHaveOpen(before[i])
	}
}

// The cost of a lock does not depend on the number of uploads: nobody lists the directory.
func TestManyUploads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mounted")
	mount(t, dir, "mount", "-t", "tmpfs", "-o", "nr_inodes=0", "tmpfs", dir) // where so many files are made quickly
	f := setUpIn(t, underTest(), dir, settings{})
	needStrace(f)
	const uploads = 100_000
	for i := range uploads {
		require.NoError(t, unix.Mknod(f.path(fmt.Sprintf("upload%d", i)), unix.S_IFREG|0o600, 0))
	}
	c := f.start()
	tracer := c.strace("-f", "-p", strconv.Itoa(c.cmd.Process.Pid), "-e", "trace=getdents,getdents64,flock")
	const rounds = 20
	for i := range rounds {
		id := fmt.Sprintf("upload%d", i*uploads/rounds)
		c.cycle(id)
		c.tell("lock " + id)
		c.expect("locked " + id)
		g := f.newLock(id)
		done := g.takeSoon(context.Background())
		c.expect("asked " + id)
		c.unlock(id)
		require.NoError(t, receive(f, done, "the lock"))
		c.tell("read " + id)
		g.mustBeAsked()
		g.unlock()
		c.expect("locked " + id)
		c.unlock(id)
	}
	f.leave("b.lock", corpseOf(setUp(t)), 0)
	c.cycle("b")
	calls := strings.Join(tracer.detach(), "\n")
	require.GreaterOrEqual(t, strings.Count(calls, "flock("), 3*rounds, "calls that a lock does make")
	require.Zero(t, strings.Count(calls, "getdents"), "the directory was listed")
	require.NoFileExists(t, f.path("b.lock"))
}
