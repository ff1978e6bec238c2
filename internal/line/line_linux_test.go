package line_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/internal/line"
)

func TestMain(m *testing.M) {
	childtest.Main(play)
	os.Exit(leaktest.Main(m))
}

// play is the child, which stands in the line called name, or does what a stranger could do.
func play(name string, orders iter.Seq[string]) {
	var p *line.Place
	for order := range orders {
		switch order {
		case "join":
			var err error
			if p, err = line.Join(name); err != nil {
				fmt.Println("error:", err)
				continue
			}
			fmt.Println("joined", p.First())
		case "wait":
			fmt.Println("first", p.Wait(context.Background()))
		case "leave":
			fmt.Println("left", p.Leave())
		case "storm":
			storm(name)
		case "limit 2":
			fmt.Println("limited", os.WriteFile("/proc/sys/net/core/somaxconn", []byte("2"), 0))
		case "fill":
			fill(name)
		case "squat":
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err == nil {
				err = unix.Bind(fd, address(name))
			}
			if err == nil {
				err = unix.Listen(fd, 10)
			}
			fmt.Println("squatting", err)
		case "intrude":
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err == nil {
				err = unix.Connect(fd, address(name))
			}
			fmt.Println("connected", err)
		}
	}
}

// storm passes through the line again and again until the process ends.
func storm(name string) {
	for {
		p, err := line.Join(name)
		if err != nil {
			continue // who makes the line has stood still in the middle
		}
		ctx, cancel := context.WithCancel(context.Background())
		if rand.N(4) == 0 {
			ctx, cancel = context.WithTimeout(ctx, rand.N(time.Millisecond))
		}
		if p.Wait(ctx) == nil {
			fmt.Println("been first")
		}
		p.Leave()
		cancel()
	}
}

// address is what root's line of that name has.
func address(name string) *unix.SockaddrUnix { return &unix.SockaddrUnix{Name: "@" + name + "/0"} }

// nameOf is one that no other test has, also in another run of them.
func nameOf(t *testing.T) string {
	return fmt.Sprintf("line-test/%d/%d", os.Getpid(), len(t.Name())*1000+rand.N(1000))
}

func join(t *testing.T, name string) *line.Place {
	t.Helper()
	p, err := line.Join(name)
	require.NoError(t, err)
	return p
}

// mustBeCalled waits until p is the first.
func mustBeCalled(t *testing.T, p *line.Place) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), childtest.Patience)
	defer cancel()
	require.NoError(t, p.Wait(ctx), "nobody is first")
	require.True(t, p.First())
}

// mustStand requires that p has not been called.
func mustStand(t *testing.T, p *line.Place) {
	t.Helper()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, p.Wait(ended), context.Canceled)
	require.False(t, p.First())
}

func TestInOrder(t *testing.T) {
	name := nameOf(t)
	places := make([]*line.Place, 100)
	for i := range places {
		places[i] = join(t, name)
		require.Equal(t, i == 0, places[i].First())
	}
	for i, p := range places {
		mustBeCalled(t, p)
		for _, later := range places[i+1:] {
			mustStand(t, later)
		}
		require.Equal(t, i < len(places)-1, p.Leave())
	}
	p := join(t, name)
	require.True(t, p.First(), "nothing is left of the line")
	require.False(t, p.Leave())
}

func TestEachNameIsALine(t *testing.T) {
	a, b := join(t, nameOf(t)+"a"), join(t, nameOf(t)+"b")
	require.True(t, a.First())
	require.True(t, b.First())
	require.False(t, a.Leave())
	require.False(t, b.Leave())
}

func TestWhoHasLeftIsPassedOver(t *testing.T) {
	name := nameOf(t)
	first, second, third, fourth := join(t, name), join(t, name), join(t, name), join(t, name)
	require.False(t, second.Leave())
	require.False(t, third.Leave())
	require.True(t, first.Leave())
	mustBeCalled(t, fourth)
	require.False(t, fourth.Leave())
}

// What was said to somebody who does not listen any more is passed on.
func TestCalledWhileLeaving(t *testing.T) {
	name := nameOf(t)
	first, second, third := join(t, name), join(t, name), join(t, name)
	require.True(t, first.Leave())
	require.False(t, second.First(), "it has not looked yet")
	require.True(t, second.Leave())
	mustBeCalled(t, third)
	require.False(t, third.Leave())
}

// A wait that has ended leaves nothing to the next one.
func TestWaitAgain(t *testing.T) {
	name := nameOf(t)
	first, second := join(t, name), join(t, name)
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), rand.N(100*time.Microsecond))
		require.ErrorIs(t, second.Wait(ctx), context.DeadlineExceeded)
		cancel()
	}
	called := make(chan error, 1)
	go func() { called <- second.Wait(context.Background()) }()
	require.True(t, first.Leave())
	require.NoError(t, <-called)
	require.False(t, second.Leave())
}

func TestFirstIsKilled(t *testing.T) {
	name := nameOf(t)
	first := childtest.Start(t, name)
	first.Do("join", "joined true")
	called := make(chan *line.Place)
	const n = 10
	for range n {
		p := join(t, name)
		require.False(t, p.First())
		go func() {
			if err := p.Wait(context.Background()); err != nil {
				t.Error(err)
			}
			called <- p
		}()
	}
	first.Kill()
	for range n {
		select {
		case p := <-called:
			p.Leave()
		case <-time.After(childtest.Patience):
			require.FailNow(t, "nobody is first")
		}
	}
}

// One is called while it is stopped, and killed before it can know.
func TestKilledWhenCalled(t *testing.T) {
	name := nameOf(t)
	first, second := join(t, name), childtest.Start(t, name)
	second.Do("join", "joined false")
	third := join(t, name)
	require.NoError(t, second.Process.Signal(syscall.SIGSTOP))
	require.True(t, first.Leave())
	mustStand(t, third)
	second.Kill()
	mustBeCalled(t, third)
	require.False(t, third.Leave())
}

// Processes come, give up, and are killed. There is always somebody who is first.
func TestStorm(t *testing.T) {
	name := nameOf(t)
	crowd := make([]*childtest.Child, 8)
	for i := range crowd {
		crowd[i] = childtest.Start(t, name)
		crowd[i].Tell("storm")
	}
	for i := range 100 {
		victim := &crowd[i%len(crowd)]
		for range 3 {
			require.Equal(t, "been first", (*victim).Next())
		}
		(*victim).Kill()
		*victim = childtest.Start(t, name)
		(*victim).Tell("storm")
	}
}

func TestOverlongName(t *testing.T) {
	p := join(t, strings.Repeat("x", 80))
	require.False(t, p.Leave())
	_, err := line.Join(strings.Repeat("x", 200))
	require.ErrorIs(t, err, unix.EINVAL)
}

// Who does not find room is told so, and the others stay in order. The child has a network of its
// own, whose limit concerns nobody else.
func TestFull(t *testing.T) {
	childtest.Need(t, "root", os.Geteuid() == 0)
	c := childtest.Start(t, nameOf(t), ownNetwork)
	c.Do("limit 2", "limited <nil>")
	c.Tell("fill")
	var joined int
	_, err := fmt.Sscanf(c.Next(), "joined %d", &joined)
	require.NoError(t, err)
	require.GreaterOrEqual(t, joined, 3)
	require.LessOrEqual(t, joined, 10)
	c.Expect(unix.EAGAIN.Error())
	for i := range joined {
		c.Expect("first <nil>", fmt.Sprint("left ", i < joined-1))
	}
}

func ownNetwork(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
}

// fill joins until that fails, and then leaves in order.
func fill(name string) {
	var places []*line.Place
	p, err := line.Join(name)
	for ; err == nil; p, err = line.Join(name) {
		places = append(places, p)
	}
	fmt.Println("joined", len(places))
	fmt.Println(errors.Unwrap(err))
	for _, p := range places {
		fmt.Println("first", p.Wait(context.Background()))
		fmt.Println("left", p.Leave())
	}
}

// startAsNobody starts a helper process of another user.
func startAsNobody(t *testing.T, name string) *childtest.Child {
	t.Helper()
	childtest.Need(t, "root", os.Geteuid() == 0)
	exe, err := os.Executable()
	require.NoError(t, err)
	f, err := os.CreateTemp("", "line-test")
	require.NoError(t, err)
	t.Cleanup(func() { os.Remove(f.Name()) })
	from, err := os.Open(exe)
	require.NoError(t, err)
	defer from.Close()
	_, err = io.Copy(f, from)
	require.NoError(t, err)
	require.NoError(t, f.Chmod(0o755))
	require.NoError(t, f.Close())
	return childtest.Start(t, name, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = f.Name(), "/" // the test's own file may be where nobody else gets
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	})
}

func TestStrangerFirst(t *testing.T) {
	name := nameOf(t)
	stranger := startAsNobody(t, name)
	stranger.Do("squat", "squatting <nil>")
	_, err := line.Join(name)
	require.Error(t, err, "another user's line is not followed")
	stranger.Kill()
	p := join(t, name)
	require.True(t, p.First())
	require.False(t, p.Leave())
}

func TestStrangerInLine(t *testing.T) {
	name := nameOf(t)
	stranger := startAsNobody(t, name)
	first := join(t, name)
	stranger.Do("intrude", "connected <nil>")
	second := join(t, name)
	require.True(t, first.Leave())
	mustBeCalled(t, second)
	stranger.Do("intrude", "connected <nil>")
	require.False(t, second.Leave(), "a stranger is nobody who waits")
}

func TestLinePerUser(t *testing.T) {
	name := nameOf(t)
	stranger := startAsNobody(t, name)
	stranger.Do("join", "joined true")
	p := join(t, name)
	require.True(t, p.First())
	require.False(t, p.Leave())
	stranger.Do("leave", "left false")
}

func TestLinePerNetwork(t *testing.T) {
	childtest.Need(t, "root", os.Geteuid() == 0)
	name := nameOf(t)
	elsewhere := childtest.Start(t, name, ownNetwork)
	p := join(t, name)
	elsewhere.Do("join", "joined true")
	require.False(t, p.Leave())
}

// Without descriptors to accept the next one, the line ends, and forms anew.
func TestOutOfDescriptors(t *testing.T) {
	name := nameOf(t)
	first, second := childtest.Start(t, name), join(t, name)
	first.Do("join", "joined false")
	third := join(t, name)
	require.True(t, second.Leave())
	first.Do("wait", "first <nil>")
	none := unix.Rlimit{}
	require.NoError(t, unix.Prlimit(first.Process.Pid, unix.RLIMIT_NOFILE, &none, nil))
	first.Do("leave", "left false")
	mustBeCalled(t, third)
	require.False(t, third.Leave())
}
