package filelocker_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without kernel locks a holder is known by its stamp: on its own machine, by whether its
// process is there.
func TestNoKernelLocks(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	const noLocks = "flock:error=ENOSYS"
	holder, waiter := f.start(), f.start()
	defer holder.inject(noLocks).detach()
	defer waiter.inject(noLocks).detach()
	for range 3 {
		holder.tell("here a")
		holder.expect("locked a")
		f.mustHold("a.lock")
		waiter.tell("here a")
		holder.expect("asked a")
		holder.tell("unlock a")
		holder.expect("unlocked a")
		waiter.expect("locked a")
		waiter.tell("unlock a")
		waiter.expect("unlocked a")
		f.mustHold()
	}
	holder.tell("here a")
	holder.expect("locked a")
	waiter.tell("here a")
	holder.expect("asked a")
	holder.kill()
	waiter.expect("locked a")
	waiter.tell("unlock a")
	waiter.expect("unlocked a")
	f.mustHold()
}

// A FUSE file system without RENAME_NOREPLACE, whose hard links share no kernel lock.
func TestOnBindfs(t *testing.T) {
	f := setUpIn(t, underTest(), mountBindfs(t), settings{})
	mounted(f)
}

// A FUSE file system without RENAME_NOREPLACE and without hard links.
func TestOnExFAT(t *testing.T) {
	f := setUpIn(t, underTest(), mountExFAT(t), settings{})
	mounted(f)
}

// mounted is the life of a lock between two processes.
func mounted(f *fixture) {
	f.Helper()
	other := f.start()
	for range 3 {
		g := f.hold("a")
		other.tell("lock a")
		g.mustBeAsked()
		g.unlock()
		other.expect("locked a")
		next := f.newLock("a")
		done := next.takeSoon(context.Background())
		other.expect("asked a")
		other.unlock("a")
		require.NoError(f, receive(f, done, "the lock"))
		f.mustBeBusy("a")
		next.unlock()
		f.mustHold()
	}
	other.tell("lock a")
	other.expect("locked a")
	f.mustBeBusy("a")
	next := f.newLock("a")
	done := next.takeSoon(context.Background())
	other.expect("asked a")
	other.kill()
	require.NoError(f, receive(f, done, "the lock of a killed process"))
	next.unlock()
	f.mustHold()
}

func mountBindfs(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "mounted")
	source := filepath.Join(base, "source")
	require.NoError(t, os.Mkdir(source, 0o700))
	mount(t, dir, "bindfs", source, dir)
	return dir
}

func mountExFAT(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	dir, image := filepath.Join(base, "mounted"), filepath.Join(base, "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 8<<20))
	out, err := exec.Command("mkfs.exfat", image).CombinedOutput()
	need(t, "mkfs.exfat: "+string(out), err == nil)
	out, err = exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	need(t, "a loop device: "+string(out), err == nil)
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "--detach", device).Run()) })
	mount(t, dir, "mount.exfat-fuse", device, dir)
	return dir
}

// mount makes dir and mounts on it with the given command, for the time of the test.
func mount(t *testing.T, dir, command string, args ...string) {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o700))
	out, err := exec.Command(command, args...).CombinedOutput()
	need(t, "the right to mount, and "+command+": "+string(out), err == nil)
	t.Cleanup(func() {
		// A descriptor may be open for some milliseconds after the last lock.
		out, err := exec.Command("umount", "-l", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
}
