package filelocker_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

var (
	recycledPIDs = flag.Int("recycled", 2000, "how often the storm gives a PID to another process")
	stormRounds  = flag.Int("rounds", 30, "how often the storm kills or stops a process")
)

// In a namespace with a hundred PIDs, thousands of processes come and go beside holders that
// are killed and holders that live. Whatever the dead had is taken, and nobody else is robbed.
func TestStormOfRecycledPIDs(t *testing.T) {
	t.Parallel()
	f := setUpMixed(t)
	if !smallNamespace(f) {
		return
	}
	need(t, "a kernel with a limit of PIDs for each namespace", ownPIDMax())
	live := f.start()
	live.tell("lock kept")
	live.expect("locked kept")
	b := newBystander(f)
	defer b.end()
	f.leave("stock.lock", strconv.Itoa(b.Process.Pid)+"\n", 0)

	s := startChurn(f, *recycledPIDs)
	rounds := 0
	for ; s.running(); rounds++ {
		ours, stock := fmt.Sprint("ours-", rounds), fmt.Sprint("stock-", rounds)
		holder := f.start()
		holder.tell("lock " + ours)
		holder.expect("locked " + ours)
		holder.kill()
		f.leave(stock+".lock", strconv.Itoa(int(s.dead.Load()))+"\n", 10*time.Second)
		f.hold(ours).unlock()
		f.hold(stock).unlock()
		for _, id := range []string{"kept", "stock"} {
			require.Equal(t, handler.ErrLockTimeout, f.newLock(id).takeWithin(10*time.Millisecond), id)
		}
	}
	f.mustHold("kept.lock", "stock.lock")
	f.mustBeBusy("stock")
	f.mustBeBusy("kept")
	live.unlock("kept")
	b.end()
	f.hold("stock").unlock()
	f.mustHold()
	t.Logf("%d processes had %d PIDs; %d dead holders of each kind", s.started, s.pids, rounds)
}

// churn has one process after another use up the PIDs.
type churn struct {
	dead    atomic.Int64 // the PID of one that is dead
	done    chan struct{}
	started int // valid when done
	pids    int // how many different ones they had
}

func startChurn(f *fixture, recycled int) *churn {
	s := &churn{done: make(chan struct{})}
	stop := make(chan struct{})
	first := make(chan struct{})
	go func() {
		defer close(s.done)
		seen := make(map[int]bool)
		for again := 0; again < recycled; s.started++ {
			select {
			case <-stop:
				return
			default:
			}
			cmd := exec.Command("true")
			if err := cmd.Run(); err != nil {
				f.Error(err)
				return
			}
			pid := cmd.Process.Pid
			if seen[pid] {
				again++
			}
			seen[pid] = true
			s.pids = len(seen)
			if s.dead.Swap(int64(pid)) == 0 {
				close(first)
			}
		}
	}()
	f.Cleanup(func() {
		close(stop)
		<-s.done
	})
	select {
	case <-first:
	case <-s.done:
	}
	return s
}

func (s *churn) running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// asUser has the helper process run as an ordinary user.
func asUser(uid uint32) func(*exec.Cmd, *childSpec) {
	return func(cmd *exec.Cmd, spec *childSpec) {
		asNobody(cmd, spec)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
}

// belowInit is asInit with another PID than 1, because records are told apart by it. Those of
// processes that come soon outside are higher than this process's own.
func belowInit(f *fixture, uid int) func(*exec.Cmd, *childSpec) {
	f.Helper()
	pid := os.Getpid() - uid/1000
	return container(f, uid, func() string {
		if pid--; pid < smallest {
			pid = 32000
		}
		return fmt.Sprintf(`echo %d >/proc/sys/kernel/ns_last_pid && /proc/self/fd/3 "$@"; exit`, pid-1)
	})
}

// Processes of several users, in several PID namespaces, user namespaces and boots, are killed,
// and stopped and continued, at random: no record is lost or torn.
func TestStormAmongAllKindsOfProcesses(t *testing.T) {
	t.Parallel()
	f := setUpMixed(t)
	needContainers(f)
	shareWithEverybody(f)
	require.NoError(t, os.WriteFile(f.path(recordName), nil, 0o666))
	require.NoError(t, os.Chmod(f.path(recordName), 0o666))

	kinds := []func(*exec.Cmd, *childSpec){
		asUser(0), asUser(65534), asUser(12345), ofBoot(f, otherBoot+"\n"), belowInit(f, 0), belowInit(f, 100000),
	}
	const stoppable = 4 // of a container, the process that is known here is the one around it
	told := make(map[string]bool)
	children := make([]*child, len(kinds))
	start := func(kind int) *child {
		c := f.start(kinds[kind], recording(0))
		t.Cleanup(c.kill) // it would not end by itself
		return c
	}
	for i := range children {
		children[i] = start(i)
	}
	kills, stops := 0, 0
	for i := range *stormRounds {
		kind := i % len(kinds)
		c := children[kind]
		for range 1 + rand.IntN(8) {
			told[c.next()] = true
		}
		if kind < stoppable && rand.IntN(3) == 0 {
			c.freeze()
			f.mayBeBusy("recorded")
			c.thaw()
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
