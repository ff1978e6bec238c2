package mutex_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// A socket that is bound and never listens is taken, and keeps nobody for longer than he wants.
func TestDeafSocket(t *testing.T) {
	name := newName(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@/var/lib/juju/mutex-/" + name}))
	require.ErrorIs(t, receive(t, acquire(impatient(name)), "the end of a try").err, mutex.ErrTimeout)
}

// Nobody's clock has to tick for the mutex to go to another process.
func TestToldByTheKernel(t *testing.T) {
	for what, end := range map[string]func(child, string){
		"release": child.release,
		"death":   func(c child, _ string) { c.Kill() },
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

// Looking often does not fill the queue of the holder's socket, after which nobody could listen.
func TestOneConnectionForAWait(t *testing.T) {
	name := newName(t)
	holder := start(t)
	holder.hold(name)
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout)
	for range 20 {
		c.next(t, delay).fire()
	}
	c.next(t, delay)
	sockets, err := os.ReadFile("/proc/net/unix")
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(sockets), "/"+name+"\n"), "the listener and its one connection")
	holder.release(name)
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	got.Release()
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
	before := sockets(t)
	for range 10 {
		c.next(t, delay)
		c.next(t, time.Millisecond).fire()
	}
	c.next(t, delay)
	require.Less(t, sockets(t), before+5, "each lie costs a descriptor")
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

// apart gives a process a network namespace of its own, and so no socket in common.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} }

// Without the socket the file keeps the promise.
func TestFileAlone(t *testing.T) {
	needRoot(t)
	name := newName(t)
	a, b, c := start(t, apart), start(t, apart), start(t, apart)
	a.hold(name)
	b.Do("try "+name, mutex.ErrTimeout.Error())
	a.release(name)
	mustCount(t, name, "never", a, b, c)
	open := func() (n []string) {
		for _, c := range []child{a, b, c} {
			c.Tell("descriptors")
			n = append(n, c.Next())
		}
		return n
	}
	before := open()
	mustCount(t, name, "last", a, b, c) // whoever opened the old file looks at the name once it is locked
	require.Equal(t, before, open())
}

// Where there are no sockets at all, either of the two files keeps it while the other is removed.
func TestSpareFile(t *testing.T) {
	needRoot(t)
	name := newName(t)
	dir, spare := t.TempDir(), t.TempDir()
	first, second := filepath.Join(dir, "juju-"+name), mutex.SpareFile(spare, name)
	children := []child{start(t, apart), start(t, apart), start(t, apart)}
	for _, c := range children {
		c.Do("place "+dir+" "+spare, "ok")
	}
	a, b := children[0], children[1]
	for _, path := range []string{first, second} {
		a.hold(name)
		b.Do("try "+name, mutex.ErrTimeout.Error())
		require.NoError(t, os.Remove(path))
		for range 3 {
			b.Tell("try " + name)
			require.Equal(t, mutex.ErrTimeout.Error(), b.Next(), path)
		}
		a.release(name)
		b.Do("try "+name, "free")
	}
	mustCount(t, name, "never", children...)
	mustCount(t, name, "first", children...)

	// Where the two directories are one, there are still two files.
	for _, c := range children {
		c.Do("place "+dir+" "+dir, "ok")
	}
	mustCount(t, name, "first", children...)
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
	require.Empty(t, stacks("mutex.listen"), "the holder is still there, and nobody listens to it")
}

func sockets(t *testing.T) (n int) {
	open, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range open {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
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
	other.Tell("acquire " + name)
	eventually(t, func() bool { return mutex.Wanted(r) }, "the other process waits")
	r.Release()
	pause := c.next(t, time.Millisecond)
	other.Expect("held")
	pause.fire()
	c.next(t, delay)
	other.release(name)
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	got.Release()
}
