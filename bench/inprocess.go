//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// inProcess measures a hand-over between goroutines: from the call of Lock, which asks the
// holder to let go, to its return.
func inProcess() measure {
	return measure{
		name:   "in-process",
		title:  "hand-over in one process",
		rounds: 40,
		show:   []string{"hand-over"},
		targets: []target{
			within("p50 at most 10 × memorylocker", 10, memory, "hand-over", p50, ""),
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			peers, err := inProcessPeers(e, "hand-over", "", e.tempDir, ours, memory)
			if err != nil {
				return nil, err
			}
			baton := newBaton()
			e.onClose(baton.close)
			peers = append(peers, peer{name: channel, round: func(ctx context.Context, s *series) error {
				for range e.pick(500, 200, 20) {
					start := time.Now()
					baton.take()
					s.took("hand-over", time.Since(start))
				}
				return nil
			}})
			for range e.waiting(stock) {
				slow, err := stockInProcess(e)
				if err != nil {
					return nil, err
				}
				peers = append(peers, slow)
			}
			return peers, nil
		},
	}
}

func inProcessPeers(e *env, metric, at string, dir func() (string, error), names ...string) ([]peer, error) {
	var peers []peer
	for _, name := range names {
		dir, err := dir()
		if err != nil {
			return nil, err
		}
		locker, err := newLocker(name, dir)
		if err != nil {
			return nil, err
		}
		peers = append(peers, peer{name: name, at: at, round: func(ctx context.Context, s *series) error {
			last, err := takeToYield(ctx, locker, "chain")
			if err != nil {
				return err
			}
			for range e.pick(500, 200, 20) {
				start := time.Now()
				next, err := takeToYield(ctx, locker, "chain")
				if err != nil {
					return err
				}
				s.took(metric, time.Since(start))
				last = next
			}
			return last.Unlock()
		}})
	}
	return peers, nil
}

// stockInProcess has many hand-overs go on at the same time, as each is seconds of waiting.
// Who waits comes at a random time of the holder's polling.
func stockInProcess(e *env) (peer, error) {
	dir, err := e.tempDir()
	if err != nil {
		return peer{}, err
	}
	locker, err := newLocker(stock, dir)
	return peer{name: stock, rounds: 1, round: func(ctx context.Context, s *series) error {
		took := make([]time.Duration, e.pick(64, 32, 1))
		errs := make([]error, len(took))
		var group sync.WaitGroup
		for i := range took {
			group.Go(func() {
				took[i], errs[i] = yieldOnce(ctx, locker, uploadID(i), e.lasting(stockHolderPoll, stockHolderPoll, 0))
			})
		}
		group.Wait()
		for i, d := range took {
			if errs[i] != nil {
				return errs[i]
			}
			s.took("hand-over", d)
		}
		return nil
	}}, err
}

// yieldOnce makes one hand-over of a lock that has been held for a random time.
func yieldOnce(ctx context.Context, locker handler.Locker, id string, heldFor time.Duration) (time.Duration, error) {
	if _, err := takeToYield(ctx, locker, id); err != nil {
		return 0, err
	}
	if err := pause(ctx, rand.N(heldFor+1)); err != nil {
		return 0, err
	}
	start := time.Now()
	lock, err := takeToYield(ctx, locker, id)
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	return took, lock.Unlock()
}

// takeToYield takes a lock that is unlocked as soon as somebody asks for it.
func takeToYield(ctx context.Context, locker handler.Locker, id string) (handler.Lock, error) {
	lock, err := locker.NewLock(id)
	if err != nil {
		return nil, err
	}
	// tusd's locker calls back once for each who waits, and a second Unlock panics there.
	var once sync.Once
	return lock, lock.Lock(ctx, func() { once.Do(func() { _ = lock.Unlock() }) })
}

// baton goes from one goroutine to another: the least that a hand-over can be.
type baton struct{ ask, give chan struct{} }

func newBaton() baton {
	b := baton{make(chan struct{}), make(chan struct{})}
	go func() {
		for range b.ask {
			b.give <- struct{}{}
		}
	}()
	return b
}

func (b baton) take() {
	b.ask <- struct{}{}
	<-b.give
}

func (b baton) close() error {
	close(b.ask)
	return nil
}
