//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is after what time all that begins with a hold has begun.
const settleTime = 200 * time.Millisecond

// idle measures what locks cost that are held while nothing happens. All processes are idle
// in the same minute.
func idle() measure {
	return measure{
		name:   "held-idle",
		title:  "held locks, idle",
		rounds: 1,
		show:   []string{"CPU per minute", "system calls", "heap per lock", "resident per lock", "goroutines per lock"},
		targets: []target{
			flatOrLess("CPU of 10,000 at most that of 10, + 1 ms per minute", ns, 1e6, "CPU per minute", manyHeld(10), manyHeld(10000)),
			flatOrLess("system calls of 10,000 at most those of 10, + 1 per second", perSec, 1, "system calls", manyHeld(10), manyHeld(10000)),
			under("heap per lock under 1 KiB", size, 1024, "heap per lock", p50, manyHeld(1000), manyHeld(10000)),
			under("resident memory per lock under 1 KiB", size, 1024, "resident per lock", p50, manyHeld(10000)),
			under("no goroutine per lock", count, 0.01, "goroutines per lock", p50, manyHeld(1000), manyHeld(10000)),
		},
		setUp: idlePeers,
	}
}

// flatOrLess says that a figure in any situation exceeds that in the first by so much
// at most: an idle process has next to nothing to be a multiple of.
func flatOrLess(text, unit string, more float64, metric, first string, at ...string) target {
	return target{text: text, unit: unit, limit: more, figure: func(o *outcome) (float64, bool) {
		few, ok := o.find(ours, first, metric)
		return worst(o, at, func(at string) (float64, bool) {
			many, known := o.find(ours, at, metric)
			return many.P50 - few.P50, ok && known
		})
	}}
}

func manyHeld(n int) string { return fmt.Sprintf("%d held", n) }

func idlePeers(ctx context.Context, e *env) ([]peer, error) {
	var peers []peer
	var idlers []*idler
	together := sync.OnceValue(func() error { return idleTogether(ctx, e, idlers) }) // with whoever's turn is first
	for _, n := range []int{10, 1000, 10000} {
		for _, name := range []string{ours, stock} {
			dir, err := e.tempDir()
			if err != nil {
				return nil, err
			}
			i, err := newIdler(e, name, dir, e.pick(n, n, n/10))
			if err != nil {
				return nil, err
			}
			idlers = append(idlers, i)
			peers = append(peers, peer{name: name, at: manyHeld(n), round: func(_ context.Context, s *series) error {
				if err := together(); err != nil {
					return err
				}
				i.note(s)
				return nil
			}})
		}
	}
	return peers, nil
}

// idler is a process that holds locks and does nothing.
type idler struct {
	name, dir string
	locks     int
	process   *child

	empty, full usage
	cpu         time.Duration // in window
	window      time.Duration
	calls       float64 // per second; negative if unknown
}

func newIdler(e *env, name, dir string, locks int) (*idler, error) {
	process, err := e.start("worker")
	return &idler{name: name, dir: dir, locks: locks, process: process}, err
}

func idleTogether(ctx context.Context, e *env, idlers []*idler) error {
	for _, i := range idlers {
		// Once around first: what there is one of for all locks is not to be counted.
		if _, err := i.process.do(order{Do: "cycles", Peer: i.name, Dir: i.dir, ID: "first", Count: 10}); err != nil {
			return err
		}
		if err := i.ask(&i.empty); err != nil {
			return err
		}
		if _, err := i.process.do(order{Do: "fill", Peer: i.name, Dir: i.dir, ID: "held", Count: i.locks}); err != nil {
			return err
		}
	}
	if err := pause(ctx, 5*settleTime); err != nil {
		return err
	}
	for _, i := range idlers {
		if err := i.ask(&i.full); err != nil {
			return err
		}
	}
	// The collection before has freed memory, which the runtime takes seconds to give back.
	if err := pause(ctx, e.lasting(10*time.Second, 2*time.Second, 0)); err != nil {
		return err
	}
	start, before := time.Now(), make([]time.Duration, len(idlers))
	for k, i := range idlers {
		var err error
		if before[k], err = cpuTimeOf(i.process.pid()); err != nil {
			return err
		}
	}
	if err := pause(ctx, e.lasting(time.Minute, 6*time.Second, settleTime)); err != nil {
		return err
	}
	for k, i := range idlers {
		after, err := cpuTimeOf(i.process.pid())
		if err != nil {
			return err
		}
		i.window, i.cpu = time.Since(start), after-before[k]
	}
	return traceIdle(ctx, e, idlers)
}

func (i *idler) ask(u *usage) error {
	ev, err := i.process.do(order{Do: "usage"})
	if err == nil {
		*u = *ev.Usage
	}
	return err
}

func (i *idler) note(s *series) {
	n := float64(i.locks)
	s.took("CPU per minute", time.Duration(float64(i.cpu)*float64(time.Minute)/float64(i.window)))
	if i.calls >= 0 {
		s.add("system calls", perSec, i.calls)
	}
	s.add("heap per lock", size, (i.full.Heap-i.empty.Heap)/n)
	s.add("resident per lock", size, (i.full.RSS-i.empty.RSS)/n)
	s.add("goroutines per lock", count, float64(i.full.Goroutines-i.empty.Goroutines)/n)
}

// traceIdle counts system calls. It comes after the time in which CPU time was measured, as
// it costs some.
func traceIdle(ctx context.Context, e *env, idlers []*idler) error {
	_, err := exec.LookPath("strace")
	tracers := make([]*exec.Cmd, len(idlers))
	for k, i := range idlers {
		if i.calls = -1; err != nil {
			continue
		}
		tracers[k] = exec.Command("strace", "-f", "-c", "-qq", "-o", filepath.Join(i.dir, "strace"), "-p", strconv.Itoa(i.process.pid()))
		tracers[k].Stderr = os.Stderr
		if err := tracers[k].Start(); err != nil {
			return fmt.Errorf("strace: %w", err)
		}
	}
	if err != nil {
		return nil
	}
	window := e.lasting(12*time.Second, 6*time.Second, time.Second)
	perr := pause(ctx, window)
	for k, i := range idlers {
		_ = tracers[k].Process.Signal(unix.SIGINT)
		_ = tracers[k].Wait() // it ends as by the signal
		f, err := os.Open(filepath.Join(i.dir, "strace"))
		if err != nil {
			return err
		}
		calls, err := parseCalls(f)
		f.Close()
		if err != nil {
			return err
		}
		i.calls = 0
		for _, n := range calls {
			i.calls += float64(n) / window.Seconds()
		}
	}
	return perr
}
