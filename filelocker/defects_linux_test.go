package filelocker_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

// Two processes that found the same stale lock both got it from the stock locker: it read the
// dead PID, and then removed by name what another process had put there in the meantime. Here
// one process is stopped after each of its steps in turn while another one tries.
func TestStaleLockHasOneHeir(t *testing.T) {
	t.Run("left by a killed process", func(t *testing.T) {
		raceForStaleLocks(t, func(f *fixture, id string) {
			former := f.start()
			former.tell("here " + id)
			former.expect("locked " + id)
			former.kill()
		})
	})
	t.Run("left by a stock locker", func(t *testing.T) {
		raceForStaleLocks(t, func(f *fixture, id string) { f.leave(id+".lock", noPID+"\n", time.Hour) })
	})
	t.Run("left empty", func(t *testing.T) {
		raceForStaleLocks(t, func(f *fixture, id string) { f.leave(id+".lock", "", time.Hour) })
	})
}

func raceForStaleLocks(t *testing.T, leave func(f *fixture, id string)) {
	f := setUp(t)
	needStrace(f)
	slow := f.start()
	eachStep(f, func(call string, n int) bool {
		id := call + strconv.Itoa(n)
		leave(f, id)
		tracer := slow.inject(stopping.at(call, n))
		slow.tell("here " + id)
		stopped := tracer.stopped(slow, "locked "+id)
		if stopped {
			oneHeir(f, slow, id)
		}
		tracer.detach()
		slow.unlock(id)
		f.mustHold()
		return stopped
	})
}

// oneHeir requires that only one of slow, which is stopped somewhere in Lock, and this process
// gets the lock, and the other one after it.
func oneHeir(f *fixture, slow *child, id string) {
	f.Helper()
	quick := f.newLock(id)
	err := quick.takeWithin(50 * time.Millisecond)
	slow.resume()
	if err == nil {
		select { // slow waits now, or it believes to have the lock
		case <-quick.asked:
		case event := <-slow.events:
			require.FailNow(f, "two holders of one lock", "this process and the one that says %q", event)
		}
		quick.unlock()
	} else {
		require.Equal(f, handler.ErrLockTimeout, err)
	}
	slow.expect("locked " + id)
}

// In a container the server is always PID 1, so a lock that a killed container left names the
// PID of its successor: that one waited for itself for ever (tusd#437).
func TestLockOfAKilledContainer(t *testing.T) {
	f := setUp(t)
	needNamespaces(f)
	t.Run("own PID", func(t *testing.T) {
		f := setUp(t)
		f.leave("a.lock", strconv.Itoa(os.Getpid())+"\n", time.Hour)
		f.hold("a").unlock()
		f.mustHold()
	})
	t.Run("stock locker's PID 1", func(t *testing.T) {
		f := setUp(t)
		f.leave("a.lock", "1\n", time.Hour)
		next := f.start(inContainer)
		next.tell("lock a")
		next.expect("locked a")
		next.tell("unlock a")
		next.expect("unlocked a")
		f.mustHold()
	})
	t.Run("the same container again", func(t *testing.T) {
		f := setUp(t)
		former := f.start(inContainer)
		former.tell("lock a")
		former.expect("locked a")
		former.kill()
		next := f.start(inContainer)
		next.tell("lock a")
		next.expect("locked a")
	})
}

// needNamespaces asks for what inContainer needs.
func needNamespaces(f *fixture) {
	f.Helper()
	err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run()
	need(f, "unshare, and the right to make PID namespaces", err == nil)
}

// inContainer has the helper process be PID 1 of a PID namespace with its own /proc.
func inContainer(cmd *exec.Cmd, _ *childSpec) {
	cmd.Args = []string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", cmd.Path}
	cmd.Path, cmd.Err = exec.LookPath("unshare")
}

// A holder in another PID namespace is not there for kill(2): the stock locker took its lock
// at once, or blocked on somebody else who has the same PID here.
func TestHolderInAnotherContainer(t *testing.T) {
	f := setUp(t)
	needNamespaces(f)
	inside := f.start(inContainer)

	g := f.hold("a")
	inside.tell("lock a")
	select {
	case <-g.asked:
	case event := <-inside.events:
		require.FailNow(t, "the holder outside was robbed", event)
	}
	g.unlock()
	inside.expect("locked a")

	f.mustBeBusy("a")
	inside.expect("asked a")
	next := f.newLock("a")
	done := next.takeSoon(context.Background())
	inside.kill()
	require.NoError(t, receive(f, done, "the lock of a killed container"))
	next.unlock()
	f.mustHold()
}

// kill(2) answers EPERM for the process of another user, and the stock locker took that for
// a proof of death.
func TestHolderOfAnotherUser(t *testing.T) {
	f := setUp(t)
	need(f, "root, to be another user", os.Getuid() == 0)
	shareWithEverybody(f)
	nobody := f.start(asNobody)

	g := f.hold("a")
	require.NoError(t, os.Chmod(f.path("a.lock"), 0o644)) // whatever the umask, it can be read
	nobody.tell("lock a")
	select {
	case <-g.asked:
	case event := <-nobody.events:
		require.FailNow(t, "the holder of another user was robbed", event)
	}
	g.unlock()
	nobody.expect("locked a")

	f.mustBeBusy("a")
	nobody.expect("asked a")
	nobody.tell("unlock a")
	nobody.expect("unlocked a")
	f.mustHold()
}

// shareWithEverybody gives every user access to the directory.
func shareWithEverybody(f *fixture) {
	f.Helper()
	require.NoError(f, os.Chmod(f.dir, 0o777))
	if parent := filepath.Dir(f.dir); parent != filepath.Clean(os.TempDir()) { // which is not ours to change
		require.NoError(f, os.Chmod(parent, 0o755))
	}
}

// asNobody has the helper process run as a user without any rights, who could not even find
// the test binary in its directory.
func asNobody(cmd *exec.Cmd, _ *childSpec) {
	cmd.Path = "/proc/self/exe"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// The PID of a dead stock holder may be another process's by now. The stock locker waited for
// that one, for ever.
func TestRecycledPID(t *testing.T) {
	f := setUp(t)
	bystander := strconv.Itoa(f.start().cmd.Process.Pid) + "\n"
	f.leave("a.lock", bystander, -time.Minute)
	f.mustBeBusy("a") // the process is older than the lock, so it may be its holder

	f.leave("a.lock", bystander, time.Hour)
	f.hold("a").unlock()
	f.mustHold()
}
