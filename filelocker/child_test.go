package filelocker_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// childEnv holds the childSpec of a helper process.
const childEnv = "FILELOCKER_TEST_CHILD"

// childSpec is what a helper process is to do.
type childSpec struct {
	Work string // "" takes orders, see actor; "record" adds records; "storm" reads and writes
	Till int    // the number of records; 0 means until it is killed
	Kind kind
	Dir  string
	Set  settings
}

// child is a helper process as its test sees it. It gets one order per line and answers
// with one event per line.
type child struct {
	f      *fixture
	cmd    *exec.Cmd
	orders io.WriteCloser
	events chan string // closed when the process has ended
	thread string      // the thread that carries out "here" and "unlock"
}

// start starts a helper process with the same locker on the same directory and waits until
// it is ready. The options can change its command and what it is to do.
func (f *fixture) start(options ...func(*exec.Cmd, *childSpec)) *child {
	f.Helper()
	spec := childSpec{Kind: f.kind, Dir: f.dir, Set: f.set}
	exe, err := os.Executable()
	require.NoError(f, err)
	c := &child{f: f, cmd: exec.Command(exe), events: make(chan string, 1<<16)}
	for _, o := range options {
		o(c.cmd, &spec)
	}
	line, err := json.Marshal(spec)
	require.NoError(f, err)
	// Under the race detector a process waits for a second before it ends.
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(line), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = os.Stderr
	c.orders, err = c.cmd.StdinPipe()
	require.NoError(f, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(f, err)
	require.NoError(f, c.cmd.Start())
	go func() {
		defer close(c.events)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			c.events <- lines.Text()
		}
		_ = c.cmd.Wait()
	}()
	f.Cleanup(c.end)
	var ok bool
	c.thread, ok = strings.CutPrefix(c.next(), "ready ")
	require.True(f, ok, "the helper process is not ready")
	return c
}

// at has the helper process use another name of the directory.
func at(dir string) func(*exec.Cmd, *childSpec) {
	return func(_ *exec.Cmd, spec *childSpec) { spec.Dir = dir }
}

// recording has the helper process add records, without further orders.
func recording(till int) func(*exec.Cmd, *childSpec) {
	return func(_ *exec.Cmd, spec *childSpec) { spec.Work, spec.Till = "record", till }
}

func (c *child) tell(order string) {
	c.f.Helper()
	_, err := fmt.Fprintln(c.orders, order)
	require.NoError(c.f, err)
}

// next waits for the next event. It is empty when the process has ended.
func (c *child) next() string {
	c.f.Helper()
	return receive(c.f, c.events, "no event from the helper process")
}

func (c *child) expect(events ...string) {
	c.f.Helper()
	for _, want := range events {
		require.Equal(c.f, want, c.next(), "the helper process")
	}
}

// unlock has the process unlock, which may have been asked to before.
func (c *child) unlock(id string) {
	c.f.Helper()
	c.tell("unlock " + id)
	event := c.next()
	for event == "asked "+id {
		event = c.next()
	}
	require.Equal(c.f, "unlocked "+id, event)
}

// kill kills the process as an operator would, and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	for range c.events {
	}
}

// end has the process end by itself, and kills it if it does not.
func (c *child) end() {
	c.orders.Close()
	watchdog := time.AfterFunc(c.f.patience(), func() { _ = c.cmd.Process.Kill() })
	defer watchdog.Stop()
	for range c.events {
	}
}

// runChild is the helper process.
func runChild(line string) int {
	var spec childSpec
	if err := json.Unmarshal([]byte(line), &spec); err != nil {
		fmt.Fprintln(os.Stderr, "helper process:", err)
		return 2
	}
	runtime.LockOSThread()
	fmt.Println("ready", thread())
	a := &actor{locker: spec.Kind.locker(spec.Dir, spec.Set), locks: make(map[string]*order), main: make(chan func(), 1<<10)}
	switch spec.Work {
	case "":
		go a.listen(os.Stdin)
		for do := range a.main {
			do()
		}
	case "record":
		return a.record(spec.Dir, spec.Till)
	case "storm":
		return a.storm(spec.Dir)
	default:
		fmt.Fprintln(os.Stderr, "helper process: unknown work", spec.Work)
		return 2
	}
	return 0
}

// actor carries out orders, those for the main thread one after the other, and the others
// even while that one is busy:
//
//	lock ID    takes the lock in the background: "locked ID" or "failed ID: error"
//	yield ID   the same, and unlocks when asked to let go
//	here ID    the same as lock, on the main thread
//	read ID, readyield ID, readhere ID
//	           the same with a shared lock
//	unlock ID  "unlocked ID" or "kept ID: error", on the main thread
//	leave ID   the same in the background
//	stream ID  has readers come and go until it is cancelled
//	cancel ID  ends the context of any of those that lock
//
// What follows a # in an ID tells locks of one upload apart.
//
// When the release callback is called, it says "asked ID", always between "locked ID" and
// "unlocked ID": a callback that was under way while the lock was unlocked is not worth a word.
type actor struct {
	locker handler.Locker
	main   chan func() // what the main thread is to do; closed after the last order

	mu    sync.Mutex
	locks map[string]*order
}

type order struct {
	lock   handler.Lock
	ctx    context.Context
	cancel func()
	over   bool // unlocked, or about to be
}

func (a *actor) listen(orders io.Reader) {
	defer close(a.main)
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		verb, id, _ := strings.Cut(lines.Text(), " ")
		a.obey(verb, id)
	}
}

func (a *actor) obey(verb, id string) {
	ctx := context.Background()
	if mode, reads := strings.CutPrefix(verb, "read"); reads {
		ctx, verb = filelocker.Reading(ctx), cmp.Or(mode, "lock")
	}
	switch verb {
	case "lock":
		go a.lock(a.prepare(ctx, id), id, func() {})
	case "yield":
		go a.lock(a.prepare(ctx, id), id, func() { a.unlock(id) })
	case "here":
		o := a.prepare(ctx, id)
		a.main <- func() { a.lock(o, id, func() {}) }
	case "unlock":
		a.main <- func() { a.unlock(id) }
	case "leave":
		go a.unlock(id)
	case "stream":
		go a.stream(a.prepare(filelocker.Reading(ctx), id), id)
	case "cancel":
		a.find(id).cancel()
	case "rest":
		filelocker.CloseUnused()
	default:
		panic("unknown order: " + verb)
	}
}

func (a *actor) prepare(ctx context.Context, id string) *order {
	upload, _, _ := strings.Cut(id, "#")
	lock, err := a.locker.NewLock(upload)
	if err != nil {
		panic(err)
	}
	o := &order{lock: lock}
	o.ctx, o.cancel = context.WithCancel(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.locks[id] = o
	return o
}

func (a *actor) find(id string) *order {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.locks[id]
}

func (a *actor) lock(o *order, id string, asked func()) {
	locked := make(chan struct{})
	err := o.lock.Lock(o.ctx, func() {
		<-locked
		a.mu.Lock()
		if !o.over {
			fmt.Println("asked", id)
		}
		a.mu.Unlock()
		asked()
	})
	if err != nil {
		fmt.Printf("failed %s: %v\n", id, err)
		return
	}
	fmt.Println("locked", id)
	close(locked)
}

func (a *actor) unlock(id string) {
	o := a.find(id)
	a.mu.Lock()
	o.over = true
	a.mu.Unlock()
	if err := o.lock.Unlock(); err != nil {
		fmt.Printf("kept %s: %v\n", id, err)
		return
	}
	fmt.Println("unlocked", id)
}

// stream has several readers at work, so that there always is one.
func (a *actor) stream(o *order, id string) {
	var all sync.WaitGroup
	started := sync.OnceFunc(func() { fmt.Println("streaming", id) })
	for range 4 {
		all.Go(func() {
			for o.ctx.Err() == nil {
				lock, err := a.locker.NewLock(id)
				if err != nil {
					panic(err)
				}
				if lock.Lock(o.ctx, func() {}) != nil {
					return
				}
				started()
				time.Sleep(2 * time.Millisecond) // not to wait for something, but to read
				if err := lock.Unlock(); err != nil {
					fmt.Printf("kept %s: %v\n", id, err)
				}
			}
		})
	}
	all.Wait()
	fmt.Println("ended", id)
}
