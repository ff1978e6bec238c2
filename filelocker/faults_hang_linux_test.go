package filelocker_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each system call hangs, as on a file server that has gone, until the test has seen that
// nothing else in the process hangs with it: other uploads are locked and unlocked, in the same
// directory and in another one, and the holder of a third hears that it is wanted. Another
// process that tries for the same upload either keeps it until it unlocks, or gets nothing. A
// Lock whose context has ended meanwhile says so when its call returns, or has the lock; and
// nothing is left over.
func TestHangAtEachStep(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	courses := coursesOf(f)
	delete(courses, "in line") // what it does beyond a wait are calls on sockets, behind which there is no server
	for _, name := range slices.Sorted(maps.Keys(courses)) {
		t.Run(name, func(t *testing.T) { courses[name].withHangs(setUp(t)) })
	}
}

// hang is the fault of a call that does not return while strace is there.
var hang = fault{inject: "delay_enter=1800000000"}

func (way course) withHangs(f *fixture) {
	f.Helper()
	require.NoError(f, os.Mkdir(f.path(bystanders), 0o777))
	c, steps := way.steps(f)
	var hung, missed, inTime int
	for i, at := range steps {
		if slices.Contains(inMemory, at.call) || !*allFaults && i%4 != 0 {
			continue
		}
		h := &hanging{way: way, c: c, watching: slices.Contains(watchCalls, at.call), cancels: i%2 == 0, before: openFiles(f, c.cmd.Process.Pid)}
		switch h.at(at); {
		case !h.hung:
			missed++
		default:
			hung++
			if h.failed {
				inTime++
			}
		}
	}
	f.Logf("%d steps, %d calls hung (%d more were not made), %d Locks ended with their context", len(steps), hung, missed, inTime)
	if way.forks {
		require.Greater(f, 3*hung, missed, "calls that hung")
		return
	}
	require.Greater(f, hung, 2*missed, "calls that hung")
}

// inMemory are calls that no file system has a part in.
var inMemory = []string{"inotify_init1", "epoll_create1", "epoll_ctl", "socket", "connect", "bind", "listen", "accept4", "sendmsg"}

// watchCalls set up the watch for a directory.
var watchCalls = []string{"fstatfs", "inotify_add_watch"}

// bystanders is a folder whose uploads have nothing to do with what hangs.
const bystanders = "folder"

// hanging is a lock and an unlock of which one call hangs.
type hanging struct {
	way     course
	c       *child
	cancels bool // the context of Lock ends while it hangs
	// watching: it is the watch for the directory that hangs, without which nobody in this process
	// hears of a request there.
	watching bool
	before   []string

	tracer       *tracer
	hung, failed bool
}

func (h *hanging) at(at step) {
	f, c := h.c.f, h.c
	f.Helper()
	h.tracer = c.trace(fmt.Sprintf("%s:%s:when=%d", at.call, hang.inject, at.n))
	var g *grip
	if h.way.meet != nil {
		g = h.way.meet(f)
	}
	c.tell(h.way.order + " a")
	asked := make(chan struct{})
	if h.way.yield != nil {
		asked, g = g.yieldSoon(h.way.late), nil
	}
	event := h.await("locked a")
	if h.way.yield != nil {
		<-asked
	}
	if g != nil {
		g.unlock()
	}
	if event == "locked a" {
		f.mustKeepOut("a")
		c.tell("unlock a")
		event = h.await("unlocked a")
		require.Equal(f, "unlocked a", event, "after a hanging %v", at)
	} else {
		require.Contains(f, event, "failed a: ", "after a hanging %v", at)
		h.failed = true
	}
	h.tracer.detach()
	require.NoError(f, f.newLock("a").lockOnce(), "another process, after a hanging %v: %v", at, snapshot(f, f.dir))
	f.mustHold(bystanders)
	c.tell(h.way.order + " a")
	require.Equal(f, "locked a", c.next(), "the same process, after a hanging %v", at)
	c.unlock("a")
	f.mustHold(bystanders)
	c.mustHaveOpen(h.before)
}

// yieldSoon unlocks as soon as somebody asks, or somewhat later. The channel is closed then.
func (g *grip) yieldSoon(late bool) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if g.mustBeAsked(); late {
			g.f.mayRest()
		}
		g.unlock()
	}()
	return done
}

// await waits for what the process says in the end. If a call hangs on the way, it looks at
// everything else meanwhile, and has the call return.
func (h *hanging) await(done string) string {
	f, c := h.c.f, h.c
	f.Helper()
	deadline := time.After(f.patience())
	seen, times := "", 0
	for {
		select {
		case event := <-c.events:
			if event != "asked a" {
				return event
			}
		case <-deadline:
			require.FailNow(f, "neither done nor hanging", "waiting for %q", done)
		case <-time.After(10 * time.Millisecond):
			at := c.stoppedAt()
			if h.hung || at == "" || at != seen {
				seen, times = at, 0
				continue
			}
			if times++; times < 5 { // strace may be slow
				continue
			}
			h.hung = true
			h.look(strings.HasPrefix(done, "locked"))
		}
	}
}

// stoppedAt is where strace keeps the main thread of the process from going on; empty if it
// does not, or for the moment in which the process says something.
func (c *child) stoppedAt() string {
	c.f.Helper()
	dir := fmt.Sprintf("/proc/%d/task/%s/", c.cmd.Process.Pid, c.thread)
	stat, err := os.ReadFile(dir + "stat")
	require.NoError(c.f, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	if !strings.HasPrefix(after, "t") {
		return ""
	}
	call, err := os.ReadFile(dir + "syscall")
	require.NoError(c.f, err)
	if strings.HasPrefix(string(call), fmt.Sprint(syscall.SYS_WRITE, " ")) {
		return ""
	}
	return string(call)
}

// look sees that nothing hangs but the one call, and has it return.
func (h *hanging) look(locking bool) {
	f, c := h.c.f, h.c
	f.Helper()
	for _, id := range []string{"b", bystanders + "/b"} {
		c.tell("lock " + id)
		require.Equal(f, "locked "+id, c.answer("a"), "while %s hangs", c.stoppedAt())
		if h.watching && id == "b" {
			c.tell("leave " + id)
			require.Equal(f, "unlocked "+id, c.answer("a"))
			continue
		}
		other := f.newLock(id)
		got := other.takeSoon(f.Context())
		require.Equal(f, "asked "+id, c.answer("a"), "while %s hangs", c.stoppedAt())
		c.tell("leave " + id)
		require.Equal(f, "unlocked "+id, c.answer("a"))
		require.NoError(f, receive(f, got, "the lock of "+id))
		other.unlock()
	}
	if locking && h.cancels {
		c.tell("cancel a")
	}
	rival := f.newLock("a")
	if rival.takeWithin(20*time.Millisecond) == nil {
		defer rival.unlock()
		defer f.mustBeSilent(c, "locked a")
	}
	_ = h.tracer.cmd.Process.Signal(syscall.SIGINT)
}

// mustBeSilent requires that the process does not say something that it must not say now.
func (f *fixture) mustBeSilent(c *child, event string) {
	f.Helper()
	select {
	case got := <-c.events:
		require.NotEqual(f, event, got)
		c.events <- got
	case <-time.After(5 * time.Millisecond):
	}
}
