package filelocker_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fault is what strace does to a system call: it has it answer an error instead of being
// made, or be made late, as on a file server that does not answer for a while.
type fault struct {
	inject string
	errno  syscall.Errno // zero: the call is made
}

var faults = []fault{
	{"error=ENOSPC", unix.ENOSPC}, {"error=EIO", unix.EIO}, {"error=EACCES", unix.EACCES}, {"error=ESTALE", unix.ESTALE},
	{"error=EMFILE", unix.EMFILE}, {"error=ENOLCK", unix.ENOLCK}, {"error=EINTR", unix.EINTR}, {"delay_enter=20000", 0},
}

// noticeCalls are the calls that set up the kernel's reports, and those of the line of waiters. They
// name no file of the directory.
var noticeCalls = []string{
	"inotify_init1", "inotify_add_watch", "epoll_create1", "epoll_ctl",
	"socket", "connect", "getsockopt", "bind", "listen", "recvmsg", "accept4", "sendmsg",
}

// tracedCall finds the name of a call in a line of strace.
var tracedCall = regexp.MustCompile(`^(\w+)\(`)

// step is the n-th system call of a name, of all that the main thread makes.
type step struct {
	call string
	n    int
}

// trace has strace list all system calls on files and descriptors that the helper process
// makes on its main thread, with paths, and interfere as inject does.
func (c *child) trace(rules ...string) *tracer {
	c.f.Helper()
	args := []string{"-p", c.thread, "-y", "-e", "trace=%file,%desc,%network", "-e", "signal=none"}
	for _, rule := range rules {
		args = append(args, "-e", "inject="+rule)
	}
	return c.strace(args...)
}

// stepsIn picks the calls on the directory out of a trace. A waiter looks again and again, so
// of each call only the first ones count.
func stepsIn(lines []string, dir string, most int) (steps []step) {
	seen := make(map[string]int)
	taken := make(map[string]int)
	for _, line := range lines {
		m := tracedCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		call := m[1]
		seen[call]++
		if taken[call] < most && (strings.Contains(line, dir) || slices.Contains(noticeCalls, call)) {
			taken[call]++
			steps = append(steps, step{call, seen[call]})
		}
	}
	return steps
}

// struck says whether strace has interfered.
func struck(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		return strings.Contains(line, "(INJECTED") || strings.Contains(line, "(DELAYED")
	})
}

// openFiles is what a process has open, sorted.
func openFiles(f *fixture, pid int) (open []string) {
	f.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	require.NoError(f, err)
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil {
			open = append(open, fd.Name()+" "+to)
		}
	}
	slices.Sort(open)
	return open
}

// mustHaveOpen requires that the process has nothing open but what it had before, once it has
// closed what it needs no more.
func (c *child) mustHaveOpen(before []string) {
	c.f.Helper()
	c.mustHaveClosed()
	require.Eventually(c.f, func() bool {
		for _, to := range openFiles(c.f, c.cmd.Process.Pid) {
			if !slices.Contains(before, to) {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond, "descriptors of the process: %v, and before: %v", openFiles(c.f, c.cmd.Process.Pid), before)
}

// mustHaveClosed waits until the process has closed the directory, which it does some time
// after the last use, and its inotify instance.
func (c *child) mustHaveClosed() {
	c.f.Helper()
	c.tell("rest")
	inUse := func(to string) bool { return strings.Contains(to, c.f.dir) || strings.Contains(to, "inotify") }
	for deadline := time.After(10 * time.Second); ; {
		open := openFiles(c.f, c.cmd.Process.Pid)
		if !slices.ContainsFunc(open, inUse) {
			return
		}
		select {
		case <-deadline:
			require.FailNow(c.f, "the process has not closed the directory", "%v", open)
		case <-time.After(time.Millisecond):
		}
	}
}

// mustKeepOut requires that nobody else can have the lock of id.
func (f *fixture) mustKeepOut(id string) {
	f.Helper()
	fd, err := unix.Open(f.path(id+".lock"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(f, err, "the lock file of a held lock")
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	require.NoError(f, unix.Close(fd))
	require.Equal(f, unix.EWOULDBLOCK, err, "somebody else can have the lock %q", id)
}
