package filelocker_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"
)

// How tests come to processes whose PID has been another one's.

const (
	// smallEnv is set for the run of a test inside a PID namespace of its own.
	smallEnv = "FILELOCKER_TEST_SMALL"

	// smallest is the lowest PID that is used again (RESERVED_PIDS of the kernel).
	smallest = 300
	// smallMax leaves a hundred of those, which is enough for the threads of some processes.
	smallMax = 400
)

// smallNamespace runs the test once more, as PID 1 of a PID namespace with few PIDs, and says
// whether this is that run.
func smallNamespace(f *fixture) bool {
	f.Helper()
	if os.Getenv(smallEnv) != "" {
		require.Equal(f, 1, os.Getpid())
		if ownPIDMax() {
			require.NoError(f, os.WriteFile("/proc/sys/kernel/pid_max", []byte(strconv.Itoa(smallMax)), 0))
		}
		aim(f, smallest+10)
		return true
	}
	needNamespaces(f)
	need(f, "root, to choose PIDs", os.Getuid() == 0)
	exe, err := os.Executable()
	require.NoError(f, err)
	args := []string{"--pid", "--fork", "--mount-proc", "--kill-child", exe,
		"-test.run=^" + f.Name() + "$", "-test.v", "-test.timeout=5m", fmt.Sprint("-recycled=", *recycledPIDs)}
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), smallEnv+"=1", "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	f.Logf("in the namespace:\n%s", out)
	require.NoError(f, err)
	require.Contains(f, string(out), "--- PASS: "+f.Name()+" ")
	return false
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

// startAs is start, with a PID that has been another process's.
func startAs(f *fixture, pid int, options ...func(*exec.Cmd, *childSpec)) *child {
	f.Helper()
	for deadline := time.Now().Add(f.patience()); time.Now().Before(deadline); {
		aim(f, pid)
		c := f.start(options...)
		if c.cmd.Process.Pid == pid {
			return c
		}
		c.end()
	}
	require.FailNow(f, "no process got the PID", "%d", pid)
	panic("not reached")
}
