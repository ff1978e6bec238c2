package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain runs the tests, or the program itself when the test binary is
// started under its name.
func TestMain(m *testing.M) {
	testscript.Main(leakCheck{m}, map[string]func(){program: main})
}

type leakCheck struct {
	m *testing.M
}

// Run fails when the tests leave goroutines behind.
func (l leakCheck) Run() int {
	if status := l.m.Run(); status != 0 {
		return status
	}
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		leaked := leakedGoroutines()
		if len(leaked) == 0 {
			return 0
		}
		select {
		case <-tick.C:
		case <-deadline:
			fmt.Fprintf(os.Stderr, "goroutines left behind:\n\n%s\n", strings.Join(leaked, "\n\n"))
			return 1
		}
	}
}

func leakedGoroutines() (leaked []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		switch {
		case strings.Contains(g, "leakedGoroutines"), strings.Contains(g, "os/signal."):
		case strings.Contains(g, "hooks.NewHandlerWithHooks"), strings.Contains(g, "handler.newDelayedContext"):
			// These are tusd's: the one that passes events on to hooks never ends, the
			// others do after the completion timeout.
		default:
			leaked = append(leaked, g)
		}
	}
	return leaked
}
