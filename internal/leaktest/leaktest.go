// Package leaktest fails a test run that leaves goroutines or descriptors behind.
package leaktest

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// patience is how long what is on its way out may take.
const patience = 10 * time.Second

// Main runs the tests of m and returns the exit code for os.Exit. When they pass, it waits
// until as many goroutines and descriptors are left as there were before, and fails the run
// with a list of them if that does not happen.
func Main(m *testing.M) int {
	before := take()
	if code := m.Run(); code != 0 {
		return code
	}
	if !before.settles() {
		before.report(os.Stderr)
		return 1
	}
	return 0
}

// Check fails t when it ends with more goroutines or descriptors than there are now.
func Check(t testing.TB) {
	t.Helper()
	before := take()
	t.Cleanup(func() {
		if !before.settles() {
			before.report(t.Output())
			t.Error("goroutines or descriptors are left")
		}
	})
}

type count struct{ goroutines, descriptors int }

func take() count {
	// The runtime's poller opens two descriptors with the first pipe, which then stay.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	return count{runtime.NumGoroutine(), len(descriptors())}
}

func (before count) settles() bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now := take()
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (before count) report(w io.Writer) {
	now := take()
	fmt.Fprintf(w, "leak: %d goroutines (%d before), %d descriptors (%d before)\n",
		now.goroutines, before.goroutines, now.descriptors, before.descriptors)
	for _, d := range descriptors() {
		fmt.Fprintln(w, " ", d)
	}
	_ = pprof.Lookup("goroutine").WriteTo(w, 2)
}

// descriptors lists what is open. There is nothing to be seen without /proc.
func descriptors() (open []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			open = append(open, e.Name()+" "+target)
		}
	}
	return open
}
