package filelocker_test

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A killed process of the stock locker left its temporary file, which nobody ever removed.
// Here a process is killed before each of the steps of Lock and Unlock in turn.
func TestKilledProcessesLeaveNothing(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	eachStep(f, func(call string, n int) bool {
		killed := killAt(f, call, n)
		f.hold("a").unlock()
		f.mustHold()
		return killed
	})
}

// killAt is false when the process locked and unlocked without such a system call.
func killAt(f *fixture, call string, n int) bool {
	f.Helper()
	c := f.start()
	defer c.kill()
	defer c.inject(killing.at(call, n)).detach()
	c.tell("here a")
	if c.next() != "locked a" {
		return true
	}
	c.tell("unlock a")
	return c.next() != "unlocked a"
}

// The stock locker needs hard links, which many file systems do not have (tusd#295, tusd#201).
func TestFileSystemsWithoutHardLinks(t *testing.T) {
	const (
		noLinks   = "linkat:error=EPERM"
		noReplace = "renameat2:error=EINVAL"
	)
	for name, rules := range map[string][]string{
		"no hard links":           {noLinks},
		"hard links only":         {noReplace},
		"exclusive creation only": {noLinks, noReplace},
		"as on rclone":            {"linkat:error=EIO", "renameat2:error=ENOSYS"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			needStrace(f)
			lacking := f.start()
			defer lacking.inject(rules...).detach()
			for range 3 {
				lacking.tell("here a")
				lacking.expect("locked a")
				f.mustHold("a.lock")
				f.mustBeBusy("a")
				lacking.expect("asked a")
				lacking.tell("unlock a")
				lacking.expect("unlocked a")
				f.mustHold()
			}
			lacking.tell("here a")
			lacking.expect("locked a")
			next := f.newLock("a")
			done := next.takeSoon(context.Background())
			lacking.expect("asked a")
			lacking.kill()
			require.NoError(t, receive(f, done, "the lock of a killed process"))
			f.mustBecome("a.lock")
			next.unlock()
			f.mustHold()
		})
	}
}

// With zero intervals the stock locker looked without a pause, and each look of a waiter left
// a descriptor open until the wait was over.
func TestZeroIntervalsDoNotSpin(t *testing.T) {
	f := setUpIn(t, underTest(), t.TempDir(), settings{})
	holder := f.start()
	holder.tell("here a")
	holder.expect("locked a")
	own := f.hold("b")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := f.newLock("a").takeSoon(ctx)
	holder.expect("asked a")
	const window = 400 * time.Millisecond
	var used time.Duration
	var opened int
	for over := time.Now().Add(20 * time.Second); ; { // a busy machine may leave the stock locker no time to spin
		before, start := len(descriptors()), cpuTime()
		<-time.After(window)
		used, opened = cpuTime()-start, len(descriptors())-before
		if underTest() == ours || opened > 3 || used > window/2 || time.Now().After(over) {
			break
		}
	}
	cancel()
	require.Error(t, receive(f, done, "Lock must end with its context"))
	own.unlock()

	require.LessOrEqual(t, opened, 3, "descriptors opened in a wait of %v", window)
	require.Less(t, used, window/2, "processor time used in a wait of %v", window)
}

// Each held lock of the stock locker cost a look at the disk per interval. The cost of holding
// must not grow with the number of locks.
func TestHeldLocksCostNoSystemCalls(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	f.lookSeldom()
	holder := f.start()
	const n = 2000
	for i := range n {
		holder.tell("here upload" + strconv.Itoa(i))
	}
	for i := range n {
		holder.expect("locked upload" + strconv.Itoa(i))
	}
	f.settle()
	pid := strconv.Itoa(holder.cmd.Process.Pid)
	cmd := exec.Command("timeout", "--signal=INT", "2", "strace", "-f", "-qq", "-e", "trace=all", "-e", "signal=none", "-p", pid)
	out, _ := cmd.CombinedOutput()
	calls := strings.Count(string(out), "\n")
	t.Logf("%d system calls in 2 s", calls)
	require.Less(t, calls, n/4, "system calls of an idle process with %d held locks", n)
}
