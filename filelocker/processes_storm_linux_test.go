package filelocker_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asUser has the helper process run as an ordinary user.
func asUser(uid uint32) func(*exec.Cmd, *childSpec) {
	return func(cmd *exec.Cmd, spec *childSpec) {
		asNobody(cmd, spec)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
}

// inContainerAs is inContainer with another PID than 1, because records are told apart by it.
func inContainerAs(pid int) func(*exec.Cmd, *childSpec) {
	return func(cmd *exec.Cmd, spec *childSpec) {
		program := cmd.Path
		inContainer(cmd, spec)
		cmd.Args = append(cmd.Args[:len(cmd.Args)-1], "sh", "-c",
			fmt.Sprintf(`echo %d >/proc/sys/kernel/ns_last_pid && "$0"; exit`, pid-1), program)
	}
}

// Processes of several users, in several PID namespaces and boots, are killed, and stopped
// and continued, at random: no record is lost or torn.
func TestExclusionAmongAllKindsOfProcesses(t *testing.T) {
	f := setUp(t)
	needNamespaces(f)
	need(f, "root, to be several users", os.Getuid() == 0)
	rebooted := sinceAnotherBoot(f)
	shareWithEverybody(f)
	require.NoError(t, os.WriteFile(f.path(recordName), nil, 0o666))
	require.NoError(t, os.Chmod(f.path(recordName), 0o666))

	const kinds, rounds = 5, 30
	started := 0
	start := func(kind int) *child {
		started++
		switch kind {
		case 0:
			return f.startRecording()
		case 1:
			return f.startRecording(asUser(65534))
		case 2:
			return f.startRecording(asUser(12345))
		case 3:
			return f.startRecording(rebooted)
		}
		return f.startRecording(inContainerAs(20 + started)) // such small ones are not used again outside
	}
	told := make(map[string]bool)
	var children [kinds]*child
	for i := range children {
		children[i] = start(i)
	}
	kills, stops := 0, 0
	for i := range rounds {
		kind := i % kinds
		c := children[kind]
		for range 1 + rand.IntN(8) {
			told[c.next()] = true
		}
		if kind != 4 && rand.IntN(3) == 0 { // a container's process is not the one that is known here
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGSTOP))
			t.Cleanup(func() { _ = c.cmd.Process.Signal(syscall.SIGCONT) })
			f.mayBeBusy("recorded")
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
			stops++
			continue
		}
		c.killTelling(told)
		kills++
		children[kind] = start(kind)
	}
	for _, c := range children {
		c.killTelling(told)
		kills++
	}
	t.Logf("%d killed, %d stopped for a while", kills, stops)
	checkRecords(f, told, kills)
	f.hold("recorded").unlock()
	f.mustHold(recordName)
}

func (f *fixture) startRecording(options ...func(*exec.Cmd, *childSpec)) *child {
	f.Helper()
	return f.start(append(options, recording(0))...)
}

// killTelling is kill, and notes what the process has told of.
func (c *child) killTelling(told map[string]bool) {
	_ = c.cmd.Process.Kill()
	for event := range c.events {
		told[event] = true
	}
}

// mayBeBusy tries a lock that a stopped process may or may not have.
func (f *fixture) mayBeBusy(id string) {
	f.Helper()
	g := f.newLock(id)
	if g.takeWithin(100*time.Millisecond) == nil {
		g.unlock()
	}
}
