// Package childtest has tests start their own binary again as helper processes, talk to them
// over pipes, and stop, kill or fail them at a certain system call. It also knows how a test
// asks for what a machine may lack.
package childtest

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is after what time something that has to happen is taken to hang. Nothing that
// works needs it.
const Patience = time.Minute

// childEnv holds the argument of a helper process.
const childEnv = "TUSD_FILELOCK_TEST_CHILD"

// Main is for the first line of TestMain. In a helper process it calls play with the argument
// that Start was given, and does not return; elsewhere it does nothing.
//
// The helper process is ready when play begins to range over its orders, which are lines of
// standard input. It answers with lines of standard output. For Inject, play has to call
// runtime.LockOSThread before that.
func Main(play func(arg string, orders iter.Seq[string])) {
	arg, started := os.LookupEnv(childEnv)
	if !started {
		return
	}
	play(arg, func(yield func(string) bool) {
		fmt.Println("ready", threadID())
		for lines := bufio.NewScanner(os.Stdin); lines.Scan() && yield(lines.Text()); {
		}
	})
	os.Exit(0)
}

// Child is a helper process as its test sees it. Its methods fail the test when they cannot
// do what they say.
type Child struct {
	testing.TB
	Process *os.Process
	Events  <-chan string // the lines that it says; closed when it has ended

	orders io.WriteCloser
	thread string
}

// Start starts a helper process and waits until it is ready. It is killed when the test ends.
// The options may change the command before it is started.
func Start(tb testing.TB, arg string, options ...func(*exec.Cmd)) *Child {
	tb.Helper()
	exe, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.Command(exe)
	// Under the race detector a process waits for a second before it ends.
	cmd.Env = append(os.Environ(), childEnv+"="+arg, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	for _, o := range options {
		o(cmd)
	}
	require.NoError(tb, cmd.Start())
	c := &Child{TB: tb, Process: cmd.Process, Events: lines(cmd, out), orders: orders}
	tb.Cleanup(c.Kill)
	var ready bool
	c.thread, ready = strings.CutPrefix(c.Next(), "ready ")
	require.True(tb, ready, "the helper process is not ready")
	return c
}

// lines are what a command says, and end when it has been waited for.
func lines(cmd *exec.Cmd, out io.Reader) <-chan string {
	said := make(chan string, 1<<16)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said <- lines.Text()
		}
		_ = cmd.Wait()
	}()
	return said
}

// Tell gives an order and does not wait for an answer.
func (c *Child) Tell(order string) {
	c.Helper()
	_, err := fmt.Fprintln(c.orders, order)
	require.NoError(c, err)
}

// Next waits for the next event. It is empty when the process has ended.
func (c *Child) Next() string {
	c.Helper()
	select {
	case event := <-c.Events:
		return event
	case <-time.After(Patience):
		require.FailNow(c, "no event from the helper process")
		return ""
	}
}

// Expect requires that these are the next events.
func (c *Child) Expect(events ...string) {
	c.Helper()
	for _, want := range events {
		require.Equal(c, want, c.Next(), "the helper process")
	}
}

// Do gives an order, and requires that this is the answer.
func (c *Child) Do(order, want string) {
	c.Helper()
	c.Tell(order)
	c.Expect(want)
}

// Kill kills the process and waits until it is gone.
func (c *Child) Kill() {
	_ = c.Process.Kill()
	for range c.Events {
	}
}

// End gives no more orders and waits until the process has ended by itself. It kills one that
// does not.
func (c *Child) End() {
	_ = c.orders.Close()
	watchdog := time.AfterFunc(Patience, func() { _ = c.Process.Kill() })
	defer watchdog.Stop()
	for range c.Events {
	}
}

// Forks starts one short process after another until the test ends. Between fork and exec
// such a process has copies of all descriptors.
func Forks(tb testing.TB) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if err := exec.Command("true").Run(); err != nil {
					tb.Error(err)
					return
				}
			}
		}
	}()
	tb.Cleanup(func() {
		close(stop)
		<-stopped
	})
}

// Need skips a test where the machine lacks something. Where everything has to be there, as
// in continuous integration, the environment has TUSD_FILELOCK_REQUIRE_ALL=1, and a test that
// is not run is a failure.
func Need(tb testing.TB, what string, ok bool) {
	tb.Helper()
	switch {
	case ok:
	case os.Getenv("TUSD_FILELOCK_REQUIRE_ALL") == "1":
		tb.Fatalf("this test needs %s", what)
	default:
		tb.Skipf("this test needs %s", what)
	}
}
