package touchfile_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		actor(path)
		return
	}
	os.Exit(leaktest.Main(m))
}

// patience detects a hang; nothing that works needs it.
const patience = time.Minute

// need skips a test on a machine that lacks something, except where nothing may be lacking.
func need(t *testing.T, reason string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("TUSD_FILELOCK_REQUIRE_ALL") == "1":
		t.Fatal("this test needs", reason)
	default:
		t.Skip("this test needs", reason)
	}
}

// setUp returns a TouchFile in a directory of its own, which does not exist yet.
func setUp(t *testing.T) *touchfile.TouchFile {
	leaktest.Check(t)
	return at(t, filepath.Join(t.TempDir(), "f"))
}

func at(t *testing.T, path string) *touchfile.TouchFile {
	t.Helper()
	tf, err := touchfile.NewTouchFile(path)
	require.NoError(t, err)
	return tf
}

func bg() context.Context { return context.Background() }

// mustBlock requires that the lock cannot be had now.
func mustBlock(t *testing.T, tf *touchfile.TouchFile, kind touchfile.LockType) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tf.Lock(ctx, kind), context.DeadlineExceeded)
}

// mustBeFree requires that the lock can be had now.
func mustBeFree(t *testing.T, tf *touchfile.TouchFile) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg(), patience)
	defer cancel()
	require.NoError(t, tf.ExclusiveLock(ctx))
	require.NoError(t, tf.Unlock())
}

// childEnv names the file that a helper process locks.
const childEnv = "TOUCHFILE_TEST_CHILD"

// child is a helper process: it gets one order per line and answers with lines.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	orders io.WriteCloser
	events chan string // closed when the process has ended
}

func start(t *testing.T, path string) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &child{t: t, cmd: exec.Command(exe), events: make(chan string, 1<<10)}
	// Under the race detector a process waits for a second before it ends.
	c.cmd.Env = append(os.Environ(), childEnv+"="+path, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = os.Stderr
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	c.cmd.ExtraFiles = []*os.File{r} // descriptor 3
	c.orders, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.events)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			c.events <- lines.Text()
		}
		_ = c.cmd.Wait()
	}()
	t.Cleanup(c.kill)
	c.expect("ready")
	return c
}

func (c *child) tell(order string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.orders, order)
	require.NoError(c.t, err)
}

func (c *child) expect(want string) {
	c.t.Helper()
	select {
	case event := <-c.events:
		require.Equal(c.t, want, event)
	case <-time.After(patience):
		require.FailNow(c.t, "no event from the helper process")
	}
}

func (c *child) do(order, want string) {
	c.t.Helper()
	c.tell(order)
	c.expect(want)
}

// kill kills the process and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	for range c.events {
	}
	_ = c.orders.Close()
}

// actor is the helper process.
func actor(path string) {
	tf, err := touchfile.NewTouchFile(path)
	if err != nil {
		panic(err)
	}
	pipe := os.NewFile(3, "pipe") // ends after this process
	runtime.LockOSThread()
	fmt.Println("ready")
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		switch order, arg, _ := strings.Cut(orders.Text(), " "); order {
		case "lock":
			say(tf.ExclusiveLock(bg()), "locked")
		case "rlock":
			say(tf.SharedLock(bg()), "locked")
		case "try":
			ctx, cancel := context.WithTimeout(bg(), 20*time.Millisecond)
			say(tf.ExclusiveLock(ctx), "locked")
			cancel()
		case "forget": // a TouchFile that is locked and not used any more
			if tf, err := touchfile.NewTouchFile(path); err != nil {
				say(err, "")
			} else {
				say(tf.ExclusiveLock(bg()), "locked")
			}
		case "collect":
			collected := make(chan struct{})
			runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, collected)
			runtime.GC()
			<-collected
			runtime.GC()
			fmt.Println("collected")
		case "unlock":
			say(tf.Unlock(), "unlocked")
		case "count": // adds one to the number in the file arg, many times
			say(count(tf, arg), "counted")
		case "spawn": // a process that outlives this one
			cmd := exec.Command("sh", "-c", "echo spawned; exec cat >&2 <&3")
			cmd.Stdout, cmd.ExtraFiles = os.Stdout, []*os.File{pipe}
			if err := cmd.Start(); err != nil {
				say(err, "")
			}
		}
	}
}

func say(err error, event string) {
	if err != nil {
		event = err.Error()
	}
	fmt.Println(event)
}

const countGoroutines, countTimes = 4, 25

func count(tf *touchfile.TouchFile, path string) error {
	errs := make(chan error, countGoroutines)
	var wg sync.WaitGroup
	for range countGoroutines {
		wg.Go(func() {
			for range countTimes {
				err := tf.WithLock(bg(), touchfile.Exclusive, func() error {
					b, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					n, err := strconv.Atoi(string(b))
					if err != nil {
						return err
					}
					return os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o600)
				})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}
