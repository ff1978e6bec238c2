package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The user's inotify instances are used up by another program. The servers poll instead.
func TestWithoutInotify(t *testing.T) {
	needRoot(t)
	const uid = 54321
	hog := exec.Command(testBinary())
	hog.Env = append(os.Environ(), roleVariable+"=hog")
	// The test binary lies where this user cannot read, so it changes user by itself.
	configure(hog, launch{})
	hog.Env = append(hog.Env, fmt.Sprintf("%s=%d", hogVariable, uid))
	startProcess(t, "inotify hog", hog).line(t, "no inotify instance is left")

	dir := openDir(t)
	options := []option{asUser(uid), args("-filelock-holder-poll-interval=50ms", "-filelock-acquirer-poll-interval=50ms")}
	a, b := startServer(t, dir, options...), startServer(t, dir, options...)
	uploads := []*upload{handOver(t, dir, a.url, b.url), handOver(t, dir, b.url, a.url), handOver(t, dir, a.url, a.url)}

	u := create(t, a.url, content(7, 256<<10))
	stall(t, a.url, u, 0, 100<<10)
	u.awaitSize(t, dir, 100<<10)
	a.kill(t)
	require.Equal(t, 100<<10, resume(t, b.url, u))
	u.finish(t, b.url, dir)
	requireClean(t, dir, append(uploads, u)...)
}

// hogVariable is the user whose inotify instances the hog takes.
const hogVariable = roleVariable + "_UID"

// hogInotify takes all inotify instances of a user and keeps them.
func hogInotify() error {
	var uid int
	if _, err := fmt.Sscan(os.Getenv(hogVariable), &uid); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
		return err
	}
	for {
		_, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if errors.Is(err, unix.EMFILE) {
			fmt.Println("no inotify instance is left")
			return unix.Pause()
		}
		if err != nil {
			return err
		}
	}
}
