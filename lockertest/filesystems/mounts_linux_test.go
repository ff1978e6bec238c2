package filesystems_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

// view is a mounted directory, and another way to the same files if there is one.
type view struct{ dir, other string }

// needKernel asks for a file system of the kernel, and for the right to mount one.
func needKernel(t *testing.T, kind string) {
	t.Helper()
	childtest.Need(t, "root, and a mount namespace", os.Getenv(insideEnv) == "1")
	known := func() bool {
		list, err := os.ReadFile("/proc/filesystems")
		require.NoError(t, err)
		for line := range strings.Lines(string(list)) {
			if f := strings.Fields(line); f[len(f)-1] == kind {
				return true
			}
		}
		return false
	}
	if !known() {
		_ = exec.Command("modprobe", kind).Run()
	}
	childtest.Need(t, "a kernel with "+kind, known())
}

func needDevice(t *testing.T, path string) {
	t.Helper()
	_, err := os.Stat(path)
	childtest.Need(t, path, err == nil)
}

func needCommand(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	childtest.Need(t, "the command "+name, err == nil)
	return path
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	out, err := exec.Command(needCommand(t, command), args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", command, strings.Join(args, " "), out)
}

func makeDir(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	require.NoError(t, os.MkdirAll(dir, 0o777))
	return dir
}

// mounted mounts with mount(8) on dir, for the time of the test.
func mounted(t *testing.T, dir string, args ...string) {
	t.Helper()
	run(t, "mount", append(args, dir)...)
	t.Cleanup(func() { unmount(t, dir) })
}

// unmount requires that nobody uses what is mounted any more, but for the moment that closing
// a descriptor may take after the last Unlock.
func unmount(t *testing.T, dir string) {
	t.Helper()
	for over := time.Now().Add(childtest.Patience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Unmount(dir, 0)
		if errors.Is(err, unix.EBUSY) && time.Now().Before(over) {
			continue
		}
		if err != nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		require.NoError(t, err, "unmount %s", dir)
		return
	}
}

func image(t *testing.T, mib int64, mkfs string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, mib<<20))
	run(t, mkfs, append(args, file)...)
	return file
}

// onImage is a file system of the kernel in an image file. The loop device goes with the mount.
func onImage(kind string, mib int64, mkfsArgs ...string) func(t *testing.T) view {
	return func(t *testing.T) view {
		needKernel(t, kind)
		needDevice(t, "/dev/loop-control")
		file := image(t, mib, "mkfs."+kind, mkfsArgs...)
		dir := makeDir(t, t.TempDir(), "mounted")
		mounted(t, dir, "-t", kind, "-o", "loop", file)
		return view{dir: dir}
	}
}

func onTmpfs(options string) func(t *testing.T) view {
	return func(t *testing.T) view {
		needKernel(t, "tmpfs")
		dir := makeDir(t, t.TempDir(), "mounted")
		mounted(t, dir, "-t", "tmpfs", "-o", options, "tmpfs")
		return view{dir: dir}
	}
}

func onOverlay(t *testing.T) view {
	needKernel(t, "overlay")
	base := t.TempDir()
	lower, upper, work, dir := makeDir(t, base, "lower"), makeDir(t, base, "upper"), makeDir(t, base, "work"), makeDir(t, base, "mounted")
	mounted(t, dir, "-t", "overlay", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work), "overlay")
	return view{dir, upper}
}

func onBindfs(t *testing.T) view {
	needKernel(t, "fuse")
	needDevice(t, "/dev/fuse")
	base := t.TempDir()
	source, dir := makeDir(t, base, "source"), makeDir(t, base, "mounted")
	daemon(t, dir, exec.Command(needCommand(t, "bindfs"), "-f", source, dir))
	return view{dir, source}
}

// onSSHFS has sshfs and its server talk over pipes.
func onSSHFS(t *testing.T) view {
	needKernel(t, "fuse")
	needDevice(t, "/dev/fuse")
	base := t.TempDir()
	source, dir := makeDir(t, base, "source"), makeDir(t, base, "mounted")
	client := exec.Command(needCommand(t, "sshfs"), "-f", "-o", "passive", ":"+source, dir)
	server := exec.Command(needCommand(t, "/usr/lib/openssh/sftp-server"))
	fromServer, toClient, err := os.Pipe()
	require.NoError(t, err)
	fromClient, toServer, err := os.Pipe()
	require.NoError(t, err)
	client.Stdin, client.Stdout = fromServer, toServer
	server.Stdin, server.Stdout = fromClient, toClient
	server.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	daemon(t, dir, client)
	for _, end := range []*os.File{fromServer, toClient, fromClient, toServer} {
		require.NoError(t, end.Close())
	}
	return view{dir, source}
}

func onExFAT(t *testing.T) view {
	needKernel(t, "fuse")
	needDevice(t, "/dev/fuse")
	needDevice(t, "/dev/loop-control")
	file := image(t, 64, "mkfs.exfat")
	dir := makeDir(t, t.TempDir(), "mounted")
	out, err := exec.Command(needCommand(t, "losetup"), "--find", "--show", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	device := strings.TrimSpace(string(out))
	// In use, the device goes when it is not used any more; and so it does when this fails.
	defer run(t, "losetup", "--detach", device)
	// Only with its debugging output does it stay in the foreground.
	daemon(t, dir, exec.Command(needCommand(t, "mount.exfat-fuse"), "-d", device, dir))
	return view{dir: dir}
}

// daemon runs a FUSE file system in the foreground until the test ends.
func daemon(t *testing.T, dir string, cmd *exec.Cmd) {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	require.NoError(t, err)
	defer said.Close()
	cmd.Stderr = said
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	require.NoError(t, cmd.Start())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		watchdog := time.AfterFunc(childtest.Patience, func() { _ = cmd.Process.Kill() })
		defer watchdog.Stop()
		<-gone
	})
	outside := device(t, filepath.Dir(dir))
	for over := time.After(childtest.Patience); device(t, dir) == outside; {
		select {
		case <-gone:
			text, _ := os.ReadFile(said.Name())
			require.FailNow(t, "the file system has ended", "%s: %s", cmd, text)
		case <-over:
			_ = cmd.Process.Kill()
			require.FailNow(t, "the file system is not mounted", "%s", cmd)
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Cleanup(func() { unmount(t, dir) })
}

func device(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dir, &st))
	return uint64(st.Dev)
}

// typeOf is the f_type of statfs(2).
func typeOf(t *testing.T, dir string) string {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	return fmt.Sprintf("%#x", uint32(st.Type))
}
