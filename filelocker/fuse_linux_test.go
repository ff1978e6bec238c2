package filelocker_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bindfs passes on the numbers of its source, which gives that of a removed directory to the
// next one, whoever has the old one open.
func TestNumberOfARemovedDirectory(t *testing.T) {
	mounted := mountBindfs(t)
	dir := filepath.Join(mounted, "uploads")
	f := setUpIn(t, underTest(), mounted, settings{})
	f.locker = f.kind.locker(dir, f.set)
	reused := 0
	var last os.FileInfo
	for range 50 {
		require.NoError(t, os.Mkdir(dir, 0o700))
		now, err := os.Stat(dir)
		require.NoError(t, err)
		if last != nil && os.SameFile(last, now) {
			reused++
		}
		last = now
		f.hold("a").unlock()
		require.NoError(t, os.Remove(dir))
	}
	need(t, "a file system that gives numbers again", reused > 0)
	f.mustHold()
}

// A file server is asked for its time with a file, which a killed process may leave.
func TestClockOfAKilledProcess(t *testing.T) {
	f := setUpIn(t, underTest(), mountBindfs(t), settings{})
	f.leave(".lock-clock", "", 0)
	f.hold("a").unlock()
	f.mustHold()
	const data = "the data of an upload"
	f.leave(".lock-clock", data, 0)
	f.hold("a").unlock()
	f.mustHold(".lock-clock")
	require.NoError(t, os.WriteFile(f.path(".lock-clock"), nil, 0o600))
	f.leave(".lock-clock.info", "{}", 0)
	f.hold("a").unlock()
	f.mustHold(".lock-clock", ".lock-clock.info")
}

// Nor does what a killed holder leaves wait for the next one who opens the directory.
func TestClockOfKilledHolder(t *testing.T) {
	f := setUpIn(t, underTest(), mountBindfs(t), settings{})
	other := f.start()
	other.tell("lock a")
	other.expect("locked a")
	next := f.newLock("a")
	done := next.takeSoon(context.Background())
	other.expect("asked a")
	other.freeze()
	f.leave(".lock-clock", "", 0)
	other.kill()
	require.NoError(f, receive(f, done, "the lock of a killed process"))
	next.unlock()
	f.mustHold()
}

// On FUSE an open file is known by its name: when another process removes that, fstat(2) can
// say that there is no such file, which must fail no Lock.
func TestContendedOnSSHFS(t *testing.T) {
	f := setUpIn(t, underTest(), mountSSHFS(t), settings{Holder: time.Millisecond, Acquirer: time.Millisecond})
	const times = 60
	for _, c := range []*child{f.start(recording(times)), f.start(recording(times)), f.start(recording(times))} {
		for range times {
			require.NotContains(t, c.next(), "failed")
		}
		c.end()
	}
	f.hold("recorded").unlock()
	f.mustHold(recordName)
}

// mountSSHFS has sshfs start the file server itself, without ssh.
func mountSSHFS(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	dir, source, server := filepath.Join(base, "mounted"), filepath.Join(base, "source"), filepath.Join(base, "server")
	require.NoError(t, os.Mkdir(source, 0o700))
	require.NoError(t, os.WriteFile(server, []byte("#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n"), 0o700))
	mount(t, dir, "sshfs", "-o", "ssh_command="+server, "localhost:"+source, dir)
	return dir
}

// To exFAT, a.lock and A.lock are one file, and to the kernel two when FUSE is in between: the
// kernel lock under the one name is free while that under the other one is held.
func TestOtherCaseOnExFAT(t *testing.T) {
	f := setUpIn(t, underTest(), mountExFAT(t), settings{})
	other := f.start()
	other.tell("lock a")
	other.expect("locked a")
	f.mustBeBusy("A")
	other.unlock("a")
	g := f.hold("a")
	f.mustBeBusy("A")
	g.unlock()
	f.hold("A").unlock()
	f.mustHold()
}
