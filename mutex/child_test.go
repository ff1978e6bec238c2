package mutex_test

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// child is a helper process, which answers each order with a line.
type child struct{ *childtest.Child }

func start(tb testing.TB, options ...func(*exec.Cmd)) child {
	tb.Helper()
	return child{childtest.Start(tb, "", options...)}
}

func (c child) hold(name string) {
	c.Helper()
	c.Do("acquire "+name, "held")
}

func (c child) release(name string) {
	c.Helper()
	c.Do("release "+name, "released")
}

// helper is the helper process.
type helper struct {
	acquire func(mutex.Spec) (mutex.Releaser, error)
	path    func(name string) string // the lock file
	held    map[string]mutex.Releaser
}

func runChild(_ string, orders iter.Seq[string]) {
	h := &helper{mutex.Acquire, mutex.Path, make(map[string]mutex.Releaser)}
	for line := range orders {
		order := strings.Fields(line)
		fmt.Println(h.obey(order[0], order[1:]))
	}
}

func (h *helper) obey(order string, args []string) any {
	switch order {
	case "acquire":
		r, err := h.acquire(wallSpec(args[0]))
		if err != nil {
			return err
		}
		h.held[args[0]] = r
		return "held"
	case "try":
		r, err := h.acquire(impatient(args[0]))
		if err != nil {
			return err
		}
		r.Release()
		return "free"
	case "release":
		h.held[args[0]].Release()
		return "released"
	case "count": // name, file, how often, and when to remove the lock file: first, last or never
		n, _ := strconv.Atoi(args[2])
		for range n {
			if err := h.count(args[0], args[1], args[3]); err != nil {
				return err
			}
		}
		return "counted"
	case "place": // the orders that follow are about two directories, not the machine's
		p := mutex.NewPlace(args[0], environment{})
		p.Spare(args[1])
		h.acquire, h.path = p.Acquire, func(name string) string { return filepath.Join(args[0], "juju-"+name) }
		return "ok"
	default:
		return h.obeySystem(order, args)
	}
}

// count adds one to the number in the file, which goes wrong if two do it at once.
func (h *helper) count(name, path, remove string) error {
	r, err := h.acquire(wallSpec(name))
	if err != nil {
		return err
	}
	defer r.Release()
	if remove == "first" {
		if err := os.Remove(h.path(name)); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return fmt.Errorf("somebody else is writing: %w", err)
	}
	runtime.Gosched()
	if err := os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		return err
	}
	if remove == "last" {
		return os.Remove(h.path(name))
	}
	return nil
}

// mustCount has the processes count together.
func mustCount(tb testing.TB, name, remove string, children ...child) {
	tb.Helper()
	const each = 300
	path := tb.TempDir() + "/count"
	require.NoError(tb, os.WriteFile(path, []byte("0"), 0o600))
	for _, c := range children {
		c.Tell(fmt.Sprintf("count %s %s %d %s", name, path, each, remove))
	}
	for _, c := range children {
		c.Expect("counted")
	}
	b, err := os.ReadFile(path)
	require.NoError(tb, err)
	require.Equal(tb, strconv.Itoa(each*len(children)), string(b), "two held it at once")
}

func allStacks() []string {
	text := make([]byte, 1<<20)
	return strings.Split(string(text[:runtime.Stack(text, true)]), "\n\n")
}

// eventually waits for what another goroutine is about to do.
func eventually(tb testing.TB, ok func() bool, what string) {
	tb.Helper()
	require.Eventually(tb, ok, patience, time.Millisecond, what)
}
