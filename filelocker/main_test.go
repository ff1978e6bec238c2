package filelocker_test

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain is also the entry of the helper processes: the tests start this binary again, with
// childEnv set.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(runChild(spec))
	}
	os.Exit(run(m))
}

// run runs the tests, and then looks for what they left behind in this process. The stock
// locker's leaks are known.
func run(m *testing.M) int {
	// The fuzzer's first Notify starts a goroutine that stays.
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
	before := takeStock()
	code := m.Run()
	if code != 0 || underTest() != ours {
		return code
	}
	if err := before.leaked(); err != nil {
		fmt.Fprintln(os.Stderr, "after the run:", err)
		return 1
	}
	return 0
}

// belongings is what a process can leak: goroutines and descriptors.
type belongings struct {
	goroutines  int
	descriptors map[string]string // number to what it is open on
}

func takeStock() belongings {
	// The runtime keeps the descriptors of its poller from the first pipe on.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	return belongings{len(goroutines()), descriptors()}
}

// goroutines is the stacks of all goroutines but the runtime's own, which NumGoroutine counts,
// and those in which tusd lets the context of a request live on for some seconds.
func goroutines() []string {
	text := make([]byte, 1<<20)
	stacks := strings.Split(string(text[:runtime.Stack(text, true)]), "\n\n")
	return slices.DeleteFunc(stacks, func(s string) bool { return strings.Contains(s, "handler.newDelayedContext") })
}

// descriptors is empty where the system does not list them.
func descriptors() map[string]string {
	open := make(map[string]string)
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil {
			open[filepath.Base(link)] = to
		}
	}
	return open
}

// leaked compares with now. What is closed in the background gets some time for it.
func (b belongings) leaked() error {
	deadline := time.After(10 * time.Second)
	for {
		err := b.compare()
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b belongings) compare() error {
	now := descriptors()
	for fd, to := range now {
		if b.descriptors[fd] != to {
			return fmt.Errorf("descriptor %s is open on %s", fd, to)
		}
	}
	if stacks := goroutines(); len(stacks) > b.goroutines {
		return fmt.Errorf("more goroutines than before:\n%s", strings.Join(stacks, "\n\n"))
	}
	return nil
}

// need skips a test where the machine lacks something. Where everything has to be there, as
// in continuous integration, a test that is not run is a failure.
func need(tb testing.TB, what string, ok bool) {
	tb.Helper()
	if ok {
		return
	}
	if os.Getenv("TUSD_FILELOCK_REQUIRE_ALL") == "1" {
		tb.Fatalf("this test needs %s", what)
	}
	tb.Skipf("this test needs %s", what)
}
