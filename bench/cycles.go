//go:build linux

package main

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// cycles is what it took to lock and unlock many times.
type cycles struct {
	Elapsed time.Duration   // wall clock, of all together
	Each    []time.Duration // of each cycle
	Mallocs float64         // per cycle
	Bytes   float64         // per cycle
}

// runCycles locks and unlocks o.Count times in each of o.Goroutines, each of which has an
// upload of its own.
func runCycles(o order) (*cycles, error) {
	locker, err := newLocker(o.Peer, o.Dir)
	if err != nil {
		return nil, err
	}
	goroutines := max(o.Goroutines, 1)
	took := make([][]time.Duration, goroutines)
	errs := make([]error, goroutines)
	for g := range took {
		took[g] = make([]time.Duration, 0, o.Count)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() { took[g], errs[g] = cycle(locker, o, g, took[g]) })
	}
	group.Wait()
	c := &cycles{Elapsed: time.Since(start)}
	runtime.ReadMemStats(&after)
	for _, t := range took {
		c.Each = append(c.Each, t...)
	}
	n := float64(max(len(c.Each), 1))
	c.Mallocs = float64(after.Mallocs-before.Mallocs) / n
	c.Bytes = float64(after.TotalAlloc-before.TotalAlloc) / n
	return c, errors.Join(errs...)
}

func cycle(locker handler.Locker, o order, g int, took []time.Duration) ([]time.Duration, error) {
	id := o.ID + "-" + strconv.Itoa(g)
	for i := range o.Count {
		switch {
		case o.Each:
			id = o.ID + strconv.Itoa(o.From+i)
		case o.Folders > 0:
			id = folder(o.FirstFolder+(o.From+i)%o.Folders) + "/" + o.ID
		}
		start := time.Now()
		lock, err := locker.NewLock(id)
		if err == nil {
			err = lock.Lock(context.Background(), func() {})
		}
		if err == nil {
			err = lock.Unlock()
		}
		if err != nil {
			return took, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// note adds to the series what cycles took, per cycle.
func (c *cycles) note(s *series) {
	n := float64(max(len(c.Each), 1))
	s.add("cycle", ns, float64(c.Elapsed)/n)
	for _, d := range c.Each {
		s.took("one cycle", d)
	}
	s.add("allocations", count, c.Mallocs)
	s.add("allocated", size, c.Bytes)
}

// cyclesOnly is the role of a process that does nothing else, for strace.
func cyclesOnly(args []string) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	_, err = runCycles(order{Peer: args[0], Dir: args[1], ID: "a", Count: n})
	return err
}
