package filelocker_test

import (
	"bytes"
	"context"
	"flag"
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

var stoppedFor = flag.Duration("stopped", 12*time.Second, "how long a holder is stopped in the test of that")

// smallEnv is set for the run of a test inside a PID namespace of its own.
const smallEnv = "FILELOCKER_TEST_SMALL"

// smallNamespace runs the test once more, as PID 1 of a PID namespace, and says whether this
// is that run.
func smallNamespace(f *fixture) bool {
	f.Helper()
	if os.Getenv(smallEnv) != "" {
		return true
	}
	needNamespaces(f)
	need(f, "root, to choose PIDs", os.Getuid() == 0)
	exe, err := os.Executable()
	require.NoError(f, err)
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", exe,
		"-test.run=^"+f.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), smallEnv+"=1", "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	f.Logf("in the namespace:\n%s", out)
	require.NoError(f, err)
	require.Contains(f, string(out), "--- PASS: "+f.Name())
	return false
}

// bystander is a process that has nothing to do with locks.
type bystander struct {
	*exec.Cmd
	end func()
}

func newBystander(f *fixture) bystander {
	f.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	require.NoError(f, err)
	require.NoError(f, cmd.Start())
	return bystander{cmd, func() {
		in.Close()
		_ = cmd.Wait()
	}}
}

// recycle starts processes until one that starts after a certain time has the given PID.
func recycle(f *fixture, pid int, after time.Time) bystander {
	f.Helper()
	started := 0
	for deadline := time.Now().Add(f.patience()); time.Now().Before(deadline); started++ {
		if !ownPIDMax() {
			aim(f, pid)
		}
		late := time.Now().After(after)
		b := newBystander(f)
		if b.Process.Pid == pid && late {
			f.Logf("PID %d is another process's after %d others", pid, started)
			f.Cleanup(b.end)
			return b
		}
		b.end()
	}
	require.FailNow(f, "no process got the PID", "%d, in %d tries", pid, started)
	panic("not reached")
}

// ownPIDMax says whether a PID namespace has its own limit, as of Linux 6.14. Before that,
// setting one would set it for the machine.
func ownPIDMax() bool {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	var major, minor int
	_, serr := fmt.Sscanf(string(release), "%d.%d", &major, &minor)
	return err == nil && serr == nil && (major > 6 || major == 6 && minor >= 14)
}

// aim has the next process of this namespace get the PID, if that is free.
func aim(f *fixture, pid int) {
	f.Helper()
	require.NoError(f, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
}

// later is after the margin within which a start cannot be told from the one before.
func later() time.Time { return time.Now().Add(1100 * time.Millisecond) }

// Few PIDs, so that each soon is another process's: that of a dead holder says nothing.
func TestRecycledPIDsInASmallNamespace(t *testing.T) {
	f := setUp(t)
	if !smallNamespace(f) {
		return
	}
	if ownPIDMax() {
		require.NoError(t, os.WriteFile("/proc/sys/kernel/pid_max", []byte("400"), 0))
	}
	t.Run("a stock holder's", recycledStock)
	t.Run("an older bystander's", recycledTooEarly)
	t.Run("ours", recycledOurs)
	t.Run("the successor's own", recycledOwn)
}

func recycledStock(t *testing.T) {
	f := setUp(t)
	for range 2 {
		holder := f.start(asStock)
		holder.tell("lock a")
		holder.expect("locked a")
		after := later()
		f.mustBeBusy("a") // and stock heeds the request, which is none of its own
		holder.kill()
		pid := strconv.Itoa(holder.cmd.Process.Pid)
		left, err := os.ReadFile(f.path("a.lock"))
		require.NoError(t, err)
		require.Equal(t, pid, strings.TrimSpace(string(left)))

		b := recycle(f, holder.cmd.Process.Pid, after)
		require.NoError(t, b.Process.Signal(syscall.Signal(0)), "the PID must be in use")
		f.hold("a").unlock()
		f.mustHold()
	}
}

// A process that may be the holder is taken for it, for as long as it is there.
func recycledTooEarly(t *testing.T) {
	f := setUp(t)
	b := newBystander(f)
	f.leave("a.lock", strconv.Itoa(b.Process.Pid)+"\n", 0)
	f.mustBeBusy("a")
	g, done := f.queue(context.Background(), "a")
	b.end()
	require.NoError(t, receive(f, done, "the lock of a dead process"))
	g.unlock()
	f.mustHold()
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

	// Where kernel locks cannot be tried, the PID and the start of its process are looked at.
	holder := f.start()
	after := later()
	holder.tell("lock a")
	holder.expect("locked a")
	content, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	content = bytes.Replace(content, []byte(`"keeps":"kernel"`), []byte(`"keeps":"heartbeat"`), 1)
	_, why, silent := filelocker.Judge(content, time.Now(), false, true)
	require.Equal(t, 30*time.Second, silent, "while the holder lives: %s", why)
	holder.kill()
	recycle(f, holder.cmd.Process.Pid, after)
	liveness, why, silent := filelocker.Judge(content, time.Now(), false, true)
	require.Equal(t, "dead", liveness, why)
	require.Zero(t, silent, why)
	f.hold("a").unlock()
}

// The server that comes after a killed stock one has its very PID, as in a container.
func recycledOwn(t *testing.T) {
	f := setUp(t)
	holder := f.start(asStock)
	holder.tell("lock a")
	holder.expect("locked a")
	holder.kill()
	past := time.Now().Add(-time.Second)
	require.NoError(t, os.Chtimes(f.path("a.lock"), past, past))
	for range 100 {
		aim(f, holder.cmd.Process.Pid)
		next := f.start()
		if next.cmd.Process.Pid != holder.cmd.Process.Pid {
			next.end()
			continue
		}
		next.tell("lock a")
		next.expect("locked a")
		next.unlock("a")
		f.mustHold()
		return
	}
	require.FailNow(t, "no process got the PID")
}

// sinceAnotherBoot has the helper process see another boot ID than this one.
func sinceAnotherBoot(f *fixture) func(*exec.Cmd, *childSpec) {
	f.Helper()
	forged := filepath.Join(f.TempDir(), "boot_id")
	require.NoError(f, os.WriteFile(forged, []byte(otherBoot+"\n"), 0o644))
	const script = `mount --bind "$1" /proc/sys/kernel/random/boot_id && exec "$0"`
	err := exec.Command("unshare", "--mount", "sh", "-c", script, "true", forged).Run()
	need(f, "unshare, and the right to mount", err == nil)
	return func(cmd *exec.Cmd, _ *childSpec) {
		cmd.Args = []string{"unshare", "--mount", "sh", "-c", script, cmd.Path, forged}
		cmd.Path, cmd.Err = exec.LookPath("unshare")
	}
}

// A lock with another boot ID is that of a machine before its reboot, if the disk is local. But
// the kernel lock decides: a live holder is not robbed, whatever the stamp says.
func TestAnotherBoot(t *testing.T) {
	f := setUp(t)
	rebooted := sinceAnotherBoot(f)
	other := f.start(rebooted)
	other.tell("lock a")
	other.expect("locked a")
	left, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	require.Contains(t, string(left), otherBoot)
	f.mustBeBusy("a")
	other.expect("asked a")
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
	f := setUp(t)
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

// On a file system that other machines may share, a lock of another boot may be another
// machine's: it counts until its heartbeat has stopped for 30 seconds.
func TestAnotherBootOnASharedFileSystem(t *testing.T) {
	f := setUpIn(t, underTest(), mountBindfs(t), settings{})
	other := f.start(sinceAnotherBoot(f))
	other.tell("lock a")
	other.expect("locked a")
	f.mustBeBusy("a")
	other.kill()
	for _, silent := range []time.Duration{0, 25 * time.Second} {
		past := time.Now().Add(-silent)
		require.NoError(t, os.Chtimes(f.path("a.lock"), past, past))
		f.mustBeBusy("a")
	}
	past := time.Now().Add(-31 * time.Second)
	require.NoError(t, os.Chtimes(f.path("a.lock"), past, past))
	f.hold("a").unlock()
	f.mustHold()
}

// A holder is stopped for longer than anything in the locker lasts, and its files look as if
// that had been an hour. It keeps its lock, and hears of the waiter when it goes on.
func TestStoppedBeyondEveryTimeout(t *testing.T) {
	for name, where := range map[string]func(*testing.T) string{
		"local":  func(t *testing.T) string { return t.TempDir() },
		"bindfs": mountBindfs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUpIn(t, underTest(), where(t), settings{Holder: 50 * time.Millisecond, Acquirer: 50 * time.Millisecond})
			holder := f.start()
			t.Cleanup(holder.kill)
			holder.tell("lock a")
			holder.expect("locked a")
			require.NoError(t, holder.cmd.Process.Signal(syscall.SIGSTOP))
			g, done := f.queue(context.Background(), "a")
			past := time.Now().Add(-time.Hour)
			require.NoError(t, os.Chtimes(f.path("a.lock"), past, past))
			select {
			case err := <-done:
				require.FailNow(t, "the stopped holder was robbed", "%v", err)
			case <-time.After(*stoppedFor):
			}
			require.NoError(t, holder.cmd.Process.Signal(syscall.SIGCONT))
			holder.expect("asked a")
			holder.unlock("a")
			require.NoError(t, receive(f, done, "the lock"))
			g.unlock()
			f.mustHold()
		})
	}
}
