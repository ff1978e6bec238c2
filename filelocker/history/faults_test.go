//go:build linux

package history_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const fleetSize = 3

// run lets the fleet work, and things go wrong, for the given time.
func (f *fleet) run(ctx context.Context, length time.Duration) error {
	over, stop := context.WithTimeout(ctx, length)
	defer stop()
	ended := make(chan error, fleetSize+1)
	for n := range fleetSize {
		go func() {
			err := f.runProcess(over, rand.New(rand.NewPCG(f.seed, uint64(1<<32+n))))
			stop()
			ended <- err
		}()
	}
	go func() { ended <- f.spoilFiles(over, rand.New(rand.NewPCG(f.seed, 1<<33))) }()
	var first error
	for range cap(ended) {
		if err := <-ended; first == nil {
			first = err
		}
	}
	return first
}

func pace(over context.Context, rng *rand.Rand, most time.Duration) {
	timer := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over.Done():
	}
}

// runProcess keeps one process running, and stops and kills it now and then.
func (f *fleet) runProcess(over context.Context, rng *rand.Rand) error {
	p, err := f.start()
	for err == nil {
		pace(over, rng, 300*time.Millisecond)
		if over.Err() != nil {
			return p.end()
		}
		kind := rng.IntN(10)
		if kind < 7 {
			call := now()
			p.signal(syscall.SIGSTOP)
			pace(over, rng, 60*time.Millisecond)
			if kind > 0 {
				p.signal(syscall.SIGCONT)
				f.mark("stopped", p.number, "", call)
				continue
			}
		}
		if err = p.kill(); err == nil {
			p, err = f.start()
		}
	}
	return err
}

// spoilFiles removes lock files and leaves release requests behind.
func (f *fleet) spoilFiles(over context.Context, rng *rand.Rand) error {
	for {
		pace(over, rng, 15*time.Millisecond)
		if over.Err() != nil {
			return nil
		}
		id := ids[rng.IntN(len(ids))]
		if rng.IntN(4) > 0 {
			if err := f.remove(id); err != nil {
				return err
			}
			continue
		}
		call := now()
		stop, err := os.OpenFile(filepath.Join(f.dir, id+".stop"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664)
		if err == nil {
			err = stop.Close()
			f.mark("left a .stop", -1, id, call)
		}
		if err != nil && !os.IsExist(err) {
			return err
		}
	}
}

// remove removes the lock file of id if it is that of a living holder. A dead one's may be in
// the middle of a takeover, which would then replace the file of whoever came next.
func (f *fleet) remove(id string) error {
	f.kills.Lock()
	defer f.kills.Unlock()
	path := filepath.Join(f.dir, id+".lock")
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return err
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	if !bytes.Contains(locks, fmt.Appendf(nil, ":%d 0 EOF", inode)) {
		return nil
	}
	call := now()
	err = os.Remove(path)
	ret := now()
	if os.IsNotExist(err) {
		return nil
	}
	f.mu.Lock()
	f.removals = append(f.removals, fault{"remove", -1, id, call, ret})
	f.mu.Unlock()
	return err
}
