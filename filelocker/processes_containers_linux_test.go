package filelocker_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

// asInit has the helper process be PID 1 of a PID namespace with its own /proc; and if uid is
// not 0, of a user namespace whose root is that user outside. In contrast to inContainer, it is
// the very process that is started, and can be stopped.
func asInit(f *fixture, uid int) func(*exec.Cmd, *childSpec) {
	f.Helper()
	return container(f, uid, func() string { return `exec /proc/self/fd/3 "$@"` })
}

// container has a shell as PID 1, which runs the script. The test binary is its descriptor 3:
// another user could not even find it in its directory.
func container(f *fixture, uid int, script func() string) func(*exec.Cmd, *childSpec) {
	f.Helper()
	path, err := os.Executable()
	require.NoError(f, err)
	exe, err := os.Open(path)
	require.NoError(f, err)
	f.Cleanup(func() { exe.Close() })
	return func(cmd *exec.Cmd, _ *childSpec) {
		const mounts = "mount --make-rprivate / && mount -t proc proc /proc && "
		cmd.ExtraFiles = []*os.File{exe}
		cmd.Args = append([]string{"sh", "-c", mounts + script(), "sh"}, cmd.Args[1:]...)
		cmd.Path, cmd.Err = exec.LookPath("sh")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
		if uid != 0 {
			ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1 << 16}}
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true}
		}
	}
}

// needContainers asks for what asInit needs.
func needContainers(f *fixture) {
	f.Helper()
	needNamespaces(f)
	need(f, "root, to make namespaces of other users", os.Getuid() == 0)
}

// Both are PID 1, each of its own namespace: what one reads of the other is its own number.
func TestBothPID1(t *testing.T) {
	t.Parallel()
	for name, users := range map[string][2]int{"of one user": {0, 0}, "of two": {100000, 200000}} {
		t.Run(name, func(t *testing.T) {
			f := setUpMixed(t)
			needContainers(f)
			shareWithEverybody(f)
			again := asInit(f, users[0])
			one, two := f.start(again), f.start(asInit(f, users[1]))
			bothPID1(f, one, two)
			leftByPID1(f, one, two, again)
		})
	}
}

// bothPID1 is the life of a lock between two processes that are both PID 1.
func bothPID1(f *fixture, one, two *child) {
	f.Helper()
	for range 5 {
		for _, p := range [][2]*child{{one, two}, {two, one}} {
			holder, waiter := p[0], p[1]
			holder.tell("lock a")
			holder.expect("locked a")
			require.Equal(f, "1", firstLine(f, "a.lock"))
			waiter.mustWait("a")
			waiter.tell("lock a")
			holder.expect("asked a")
			require.Empty(f, waiter.events)
			holder.unlock("a")
			waiter.expect("locked a")
			require.Equal(f, "1", firstLine(f, "a.lock"))
			waiter.unlock("a")
			f.mustHold()
		}
	}
	two.tell("lock a")
	two.expect("locked a")
	two.freeze()
	one.mustWait("a")
	one.tell("lock a")
	f.mustBeBusy("a")
	require.Empty(f, one.events)
	two.thaw()
	two.expect("asked a")
	two.unlock("a")
	one.expect("locked a")
	one.unlock("a")
	f.mustHold()
}

// leftByPID1 is about locks that a killed PID 1 has left: one that another waits for, and one
// that the next PID 1 in its place finds.
func leftByPID1(f *fixture, one, two *child, again func(*exec.Cmd, *childSpec)) {
	f.Helper()
	for range 3 {
		for _, id := range []string{"a", "b"} {
			one.tell("lock " + id)
			one.expect("locked " + id)
		}
		two.tell("lock a")
		one.expect("asked a")
		one.kill()
		two.expect("locked a")
		one = f.start(again)
		one.tell("lock b")
		one.expect("locked b")
		one.mustWait("a")
		one.unlock("b")
		two.unlock("a")
		f.mustHold()
	}
}

// Two that are PID 1 find what a stock container has left: a 1 and nothing else, which is the
// number of them both. One of them gets it, and the other one after it.
func TestStockLeftoversOfPID1(t *testing.T) {
	t.Parallel()
	f := setUpMixed(t)
	needContainers(f)
	contained := asInit(f, 0)
	one, two := f.start(contained), f.start(contained)
	for i := range 10 {
		id := fmt.Sprint("left-", i)
		f.leave(id+".lock", "1\n", time.Hour)
		one.tell("lock " + id)
		two.tell("lock " + id)
		first, second := one, two
		select {
		case event := <-one.events:
			require.Equal(t, "locked "+id, event)
		case event := <-two.events:
			require.Equal(t, "locked "+id, event)
			first, second = two, one
		case <-time.After(f.patience()):
			require.FailNow(t, "nobody gets it")
		}
		first.expect("asked " + id)
		f.mustBeBusy(id)
		require.Empty(t, second.events, "two holders")
		first.unlock(id)
		second.expect("locked " + id)
		second.unlock(id)
		f.mustHold()
	}

	stock := f.start(contained, asStock)
	stock.tell("lock a")
	stock.expect("locked a")
	f.mustContain("a.lock", "1\n")
	one.mustWait("a") // it is PID 1 itself, and was so before this lock
	stock.kill()
	f.age("a.lock", time.Second)
	next := f.start(contained)
	next.tell("lock a")
	next.expect("locked a")
	next.unlock("a")
	f.mustHold()
}

var suiteOnly = flag.String("suite", "Processes/(Crash|Exclusion|HandOver|Killed|Pause|Restart|Readers/Crash)",
	"which subtests of the suite are run among containers; all that have other processes: Processes/")

// suiteEnv is the directory of another process of TestSuiteAmongContainers.
const suiteEnv = "FILELOCKER_TEST_SUITE"

// All that a locker owes, where the other processes are PID 1 of containers: of this user and
// of another one, and before and after a reboot.
func TestSuiteAmongContainers(t *testing.T) {
	if dir := os.Getenv(suiteEnv); dir != "" {
		if err := lockertest.Serve(filelocker.New(dir), filelocker.Reading); err != nil {
			t.Fatal(err)
		}
		os.Exit(0) // package testing would have a last word on standard output
	}
	if testing.Short() {
		t.Skip("takes 10 seconds")
	}
	t.Parallel()
	f := setUpMixed(t)
	needContainers(f)
	kinds := []func(*exec.Cmd, *childSpec){
		asInit(f, 0), asInit(f, 100000), ofBoot(f, otherBoot+"\n"), asInit(f, 200000),
	}
	only := regexp.MustCompile(*suiteOnly)
	started := 0
	lockertest.Run(t, lockertest.Factory{
		New: func(t testing.TB) handler.Locker {
			if !only.MatchString(t.Name()) {
				t.Skip("not asked for by -suite")
			}
			f := setUpIn(t, ours, t.TempDir(), settings{})
			shareWithEverybody(f)
			return f.locker
		},
		Claims:  []lockertest.Capability{lockertest.Crash, lockertest.Pause, lockertest.StrictUnlock},
		Reading: filelocker.Reading,
		Command: func(t testing.TB, l handler.Locker) *exec.Cmd {
			exe, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(exe, "-test.run=^TestSuiteAmongContainers$")
			kinds[started%len(kinds)](cmd, nil)
			started++
			cmd.Env = append(os.Environ(), suiteEnv+"="+l.(filelocker.FileLocker).Path, "GORACE=atexit_sleep_ms=0")
			return cmd
		},
		Audit: func(t testing.TB, l handler.Locker, held ...string) {
			entries, err := os.ReadDir(l.(filelocker.FileLocker).Path)
			require.NoError(t, err)
			require.Len(t, entries, len(held), "%v", entries)
		},
	})
	t.Logf("%d other processes", started)
}
