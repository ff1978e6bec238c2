package mutex_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// older is what an implementation does that only knows the socket.
func older(name string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: "@/var/lib/juju/mutex-/" + name, Net: "unix"})
}

func TestOlderSocket(t *testing.T) {
	name := newName(t)
	l, err := older(name)
	require.NoError(t, err)
	mustBeBusy(t, name)
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	c.next(t, delay)
	require.NoError(t, l.Close())
	got := receive(t, second, "the second, which the kernel tells")
	require.NoError(t, got.err)
	_, err = older(name)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	got.Release()
	l, err = older(name)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// Nobody's clock has to tick for the mutex to go to another process.
func TestToldByTheKernel(t *testing.T) {
	for what, end := range map[string]func(*child, string){
		"release": (*child).release,
		"death":   func(c *child, _ string) { c.kill() },
	} {
		t.Run(what, func(t *testing.T) {
			leaktest.Check(t)
			name := newName(t)
			holder := start(t)
			holder.hold(name)
			c := newClock()
			second := acquire(c.spec(name))
			c.next(t, timeout)
			c.next(t, delay)
			end(holder, name)
			for {
				select {
				case got := <-second:
					require.NoError(t, got.err)
					got.Release()
					return
				case tick := <-c.timers: // the file of a dead one can take longer than its socket
					require.Equal(t, "death", what)
					require.Equal(t, time.Millisecond, tick.after)
					tick.fire()
				case <-time.After(patience):
					require.FailNow(t, "nobody told the waiter")
				}
			}
		})
	}
}

// A holder that tells lies cannot make its waiters spin.
func TestLies(t *testing.T) {
	name := newName(t)
	l, err := older(name)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("free"))
			conn.Close()
		}
	}()
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	for range 10 {
		c.next(t, delay)
		c.next(t, time.Millisecond).fire()
	}
	require.NoError(t, l.Close())
	<-done
	for {
		select {
		case got := <-second:
			require.NoError(t, got.err)
			got.Release()
			return
		case tick := <-c.timers:
			tick.fire()
		case <-time.After(patience):
			require.FailNow(t, "the waiter hangs")
		}
	}
}

// With the file gone, or another in its place, the socket still keeps a second one out.
func TestRemovedWhileHeld(t *testing.T) {
	name := newName(t)
	holder := start(t)
	holder.hold(name)
	require.NoError(t, os.Remove(mutex.Path(name)))
	mustBeBusy(t, name) // and makes the file anew
	mustBeBusy(t, name)
	require.NoError(t, os.WriteFile(mutex.Path(name)+"x", nil, 0o444))
	require.NoError(t, os.Rename(mutex.Path(name)+"x", mutex.Path(name)))
	mustBeBusy(t, name)
	holder.release(name)
	mustBeFree(t, name)
}

// Without a common network namespace, and so without the sockets, the file keeps the
// promise: also if it is removed by one who holds it.
func TestFileAlone(t *testing.T) {
	needRoot(t)
	apart := func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} }
	name := newName(t)
	a, b, c := start(t, apart), start(t, apart), start(t, apart)
	a.hold(name)
	require.Equal(t, mutex.ErrTimeout.Error(), b.tell("try", name))
	a.release(name)
	mustCount(t, name, "keep", a, b, c)
	for range 3 {
		mustCount(t, name, "remove", a, b, c)
	}
}

// Without a common /tmp the socket keeps the promise.
func TestSocketAlone(t *testing.T) {
	name := newName(t)
	a := start(t)
	a.hold(name)
	elsewhere, _ := place(t, environment{})
	spec := impatient(name)
	_, err := elsewhere.Acquire(spec)
	require.ErrorIs(t, err, mutex.ErrTimeout)
	a.release(name)
	r, err := elsewhere.Acquire(spec)
	require.NoError(t, err)
	r.Release()
}

// Waiters that give up leave no goroutine, no descriptor and no thread, nor do those that wait.
func TestAbandonedWaitersLeaveNothing(t *testing.T) {
	leaktest.Check(t)
	const n = 200
	holder := start(t)
	cancel := make(chan struct{})
	var waiters []<-chan outcome
	before := threads(t)
	for range n {
		name := newName(t)
		holder.hold(name)
		c := newClock()
		spec := c.spec(name)
		spec.Cancel = cancel
		waiters = append(waiters, acquire(spec))
		c.next(t, timeout)
		c.next(t, delay)
	}
	// The runtime starts a few threads of its own.
	require.Less(t, threads(t), before+n/4)
	close(cancel)
	for _, w := range waiters {
		require.ErrorIs(t, receive(t, w, "a waiter").err, mutex.ErrCancelled)
	}
	require.Less(t, threads(t), before+n/4)
}

func threads(t *testing.T) int {
	tasks, err := filepath.Glob("/proc/self/task/*")
	require.NoError(t, err)
	return len(tasks)
}

// A process with a queue of its own lets another that waits go first.
func TestOtherProcessesHaveTheirTurn(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	other := start(t)
	other.order("acquire", name)
	eventually(t, func() bool { return mutex.Wanted(r) }, "the other process waits")
	r.Release()
	pause := c.next(t, time.Millisecond)
	require.Equal(t, "held", other.answer())
	pause.fire()
	c.next(t, delay)
	other.release(name)
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	got.Release()
}
