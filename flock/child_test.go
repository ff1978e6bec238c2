package flock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// childEnv names the directory on which a helper process works.
const childEnv = "FLOCK_TEST_CHILD"

// child is a helper process: it gets one order per line and answers with lines.
type child struct {
	s      store
	cmd    *exec.Cmd
	orders io.WriteCloser
	events chan string // closed when the process has ended
	thread string      // the thread that carries out "here"
}

// start starts a helper process, behind the given command if there is one.
func (s store) start(command ...string) *child {
	s.Helper()
	exe, err := os.Executable()
	require.NoError(s, err)
	command = append(command, exe)
	c := &child{s: s, cmd: exec.Command(command[0], command[1:]...), events: make(chan string, 1<<10)}
	// Under the race detector a process waits for a second before it ends.
	c.cmd.Env = append(os.Environ(), childEnv+"="+s.root.Name(), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = os.Stderr
	ownGroup(c.cmd)
	c.orders, err = c.cmd.StdinPipe()
	require.NoError(s, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(s, err)
	require.NoError(s, c.cmd.Start())
	go func() {
		defer close(c.events)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			c.events <- lines.Text()
		}
		_ = c.cmd.Wait()
	}()
	s.Cleanup(c.kill)
	var ok bool
	c.thread, ok = strings.CutPrefix(c.next(), "ready ")
	require.True(s, ok, "the helper process is not ready")
	return c
}

func (c *child) tell(order string) {
	c.s.Helper()
	_, err := fmt.Fprintln(c.orders, order)
	require.NoError(c.s, err)
}

func (c *child) next() string {
	c.s.Helper()
	select {
	case event := <-c.events:
		return event
	case <-time.After(patience):
		require.FailNow(c.s, "no event from the helper process")
		return ""
	}
}

func (c *child) expect(want string) {
	c.s.Helper()
	require.Equal(c.s, want, c.next())
}

func (c *child) do(order, want string) {
	c.s.Helper()
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
func actor(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		panic(err)
	}
	a := &act{root: root}
	runtime.LockOSThread()
	a.say(fmt.Sprint("ready ", threadID()))
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		a.obey(strings.Fields(orders.Text()))
	}
}

type act struct {
	root   *os.Root
	unlock flock.UnlockFunc
	mu     sync.Mutex // guards unlock and the output
}

func (a *act) say(event string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Println(event)
}

func (a *act) obey(order []string) {
	ctx := flock.WithLogger(context.Background(), slog.New(&crier{a, slog.DiscardHandler}))
	switch order[0] {
	case "lock":
		go a.take(ctx, flock.TryLock)
	case "here":
		a.take(ctx, flock.TryLock)
	case "rlock":
		go a.take(ctx, flock.TryRLock)
	case "try":
		go a.take(done(), flock.TryLock)
	case "contend": // in many goroutines, each of which says how it went
		for range 8 {
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
				defer cancel()
				a.take(ctx, flock.TryLock)
			}()
		}
	case "unlock":
		if err := a.unlock(); errors.Is(err, flock.ErrUnlockUnsuccessful) {
			a.say("lost")
		} else {
			a.say("unlocked")
		}
	case "spawn": // a process that outlives this one and says when it runs
		cmd := exec.Command("sh", "-c", "echo spawned; exec sleep 60")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			a.say(err.Error())
		}
	case "storm":
		a.storm()
	}
}

func (a *act) take(ctx context.Context, lock func(context.Context, *os.Root) (flock.UnlockFunc, error)) {
	unlock, err := lock(ctx, a.root)
	switch {
	case err == nil:
		a.mu.Lock()
		a.unlock = unlock
		a.mu.Unlock()
		a.say("locked")
	case errors.Is(err, flock.ErrLockUnsuccessful):
		a.say("failed")
	default:
		a.say(err.Error())
	}
}

// storm locks and unlocks until the process is killed. A second kernel lock tells whether it
// is alone. Often it makes the file stale before it unlocks, as if it had been frozen, and
// sometimes wakes up from that in the last moment.
func (a *act) storm() {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				if err := a.cycle(); err != nil {
					a.say("storm: " + err.Error())
					return
				}
				a.say("cycle")
			}
		})
	}
	wg.Wait()
}

func (a *act) cycle() error {
	shared := rand.IntN(4) == 0
	lock, probe := flock.TryLock, filelock.TryLock
	if shared {
		lock, probe = flock.TryRLock, filelock.TryRLock
	}
	unlock, err := lock(context.Background(), a.root)
	if err != nil {
		return err
	}
	f, err := a.root.OpenFile("inside", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := probe(f.Fd()); err != nil {
		return fmt.Errorf("not alone: %w", err)
	}
	_ = filelock.Unlock(f.Fd())
	_ = f.Close()
	path := filepath.Join(a.root.Name(), flock.LockFile)
	frozen := !shared && rand.IntN(3) > 0
	if frozen {
		long := time.Now().Add(-time.Hour)
		_ = os.Chtimes(path, long, long)
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			now := time.Now()
			_ = os.Chtimes(path, now, now)
		}
	}
	if err := unlock(); err != nil && !frozen {
		return err
	}
	return nil
}

// crier is a logger's handler that says what it gets.
type crier struct {
	a *act
	slog.Handler
}

func (c *crier) Enabled(context.Context, slog.Level) bool { return true }

func (c *crier) Handle(_ context.Context, r slog.Record) error {
	c.a.say("log " + r.Message)
	return nil
}
