package filelocker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ofBoot has the helper process read this boot ID in place of the machine's.
func ofBoot(f *fixture, boot string) func(*exec.Cmd, *childSpec) {
	f.Helper()
	forged := filepath.Join(f.TempDir(), "boot_id")
	require.NoError(f, os.WriteFile(forged, []byte(boot), 0o644))
	const script = `mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$0" "$@"`
	err := exec.Command("unshare", "--mount", "sh", "-c", script, "true", forged).Run()
	need(f, "unshare, and the right to mount", err == nil)
	return func(cmd *exec.Cmd, _ *childSpec) {
		cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", script, cmd.Path, forged}, cmd.Args[1:]...)
		cmd.Path, cmd.Err = exec.LookPath("unshare")
	}
}

// A lock with another boot ID is that of a machine before its reboot, if the disk is local. But
// the kernel lock decides: a live holder is not robbed, whatever the stamp says.
func TestAnotherBoot(t *testing.T) {
	f := setUp(t)
	rebooted := ofBoot(f, otherBoot+"\n")
	other := f.start(rebooted)
	other.tell("lock a")
	other.expect("locked a")
	left, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	require.Contains(t, string(left), otherBoot)
	f.mustBeBusy("a")
	other.kill()
	f.hold("a").unlock()
	f.mustHold()

	f.leave("a.lock", string(left), 0) // no process of that boot is left at all
	f.hold("a").unlock()
	f.mustHold()

	former, next := f.start(), f.start(rebooted)
	former.tell("lock a")
	former.expect("locked a")
	next.tell("lock a")
	former.expect("asked a")
	former.kill()
	next.expect("locked a")
	next.unlock("a")
	f.mustHold()
}

// After a reboot PID 1 is always there, and started after whatever a stock holder of that PID
// has left.
func TestStockLockOfAnotherBoot(t *testing.T) {
	f := setUpMixed(t)
	uptime, err := os.ReadFile("/proc/uptime")
	require.NoError(t, err)
	up, err := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	require.NoError(t, err)
	f.leave("a.lock", "1\n", time.Duration(up)*time.Second+time.Hour)
	f.hold("a").unlock()
	f.mustHold()

	f.leave("a.lock", "1\n", 0)
	f.mustBeBusy("a")
}

// quick are intervals for file systems where nothing else tells of changes.
var quick = settings{Holder: 50 * time.Millisecond, Acquirer: 50 * time.Millisecond}

// After a reboot of the only machine that uses a file server, the lock that it has left looks
// like another machine's.
func TestRebootOnAFileServer(t *testing.T) {
	f := setUpIn(t, underTest(), mountBindfs(t), quick)
	former := f.start()
	former.tell("lock a")
	former.expect("locked a")
	former.kill()
	next := f.start(ofBoot(f, otherBoot+"\n"))
	for _, silent := range []time.Duration{0, 25 * time.Second} {
		f.age("a.lock", silent)
		next.mustWait("a")
	}
	next.tell("lock a")
	f.age("a.lock", 31*time.Second)
	next.expect("locked a")
	next.unlock("a")
	f.mustBecomeEmpty()
}

// mustBecomeEmpty waits until the directory is empty. A file system in user space hides a file
// that is removed while it is open, and removes it some time after it is closed.
func (f *fixture) mustBecomeEmpty() {
	f.Helper()
	f.mustBecome()
}

// mustBecome waits until these are the files in the directory.
func (f *fixture) mustBecome(names ...string) {
	f.Helper()
	require.Eventually(f, func() bool {
		entries, err := os.ReadDir(f.dir)
		return err == nil && slices.EqualFunc(entries, names, func(e os.DirEntry, name string) bool { return e.Name() == name })
	}, f.patience(), time.Millisecond, "files in the directory, other than %v", names)
}

// mustWait has the process try for a lock more than once, in vain, and give up. Each of its
// looks touches its request.
func (c *child) mustWait(id string) {
	c.f.Helper()
	c.tell("lock " + id)
	var last time.Time
	for looks := 0; looks < 3; {
		select {
		case event := <-c.events:
			require.FailNow(c.f, "a lock that must be busy", event)
		case <-time.After(5 * time.Millisecond):
		}
		if info, err := os.Stat(c.f.path(id + ".stop")); err == nil && !info.ModTime().Equal(last) {
			last = info.ModTime()
			looks++
		}
	}
	c.tell("cancel " + id)
	require.Contains(c.f, c.next(), "failed "+id+": ")
}
