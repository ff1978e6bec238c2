//go:build linux

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// killed measures from SIGKILL of the holder's process to the return of Lock in another one,
// which waits already.
func killed() measure {
	return measure{
		name:   "killed-holder",
		title:  "killed holder to next holder",
		rounds: 300,
		show:   []string{"kill to lock"},
		targets: []target{
			under("p50 under 1 ms", ns, 1e6, "kill to lock", p50),
			under("p99 under 5 ms", ns, 5e6, "kill to lock", p99),
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			waiter, err := e.start("worker")
			if err != nil {
				return nil, err
			}
			var peers []peer
			for _, name := range e.waiting(ours, stockFast, stock, floorBound, floorWait) {
				dir, err := e.tempDir()
				if err != nil {
					return nil, err
				}
				peers = append(peers, killPeer(e, name, "", dir, waiter))
			}
			return peers, nil
		},
	}
}

func killPeer(e *env, name, at, dir string, waiter *child) peer {
	p := peer{name: name, at: at, budget: e.lasting(10*time.Second, 3*time.Second, time.Second)}
	uploads, settle := 1, 20*time.Millisecond
	if name == stock {
		// Polls come at random times, and one kill shows many of them.
		p.rounds = e.pick(2, 1, 1)
		uploads, settle = e.pick(32, 32, 2), stockAcquirerPoll
	}
	p.round = func(ctx context.Context, s *series) error {
		return killRound(ctx, e, name, dir, waiter, uploads, settle, s)
	}
	return p
}

func killRound(ctx context.Context, e *env, name, dir string, waiter *child, uploads int, settle time.Duration, s *series) error {
	holder, err := e.start("worker")
	if err != nil {
		return err
	}
	for u := range uploads {
		if err := holder.tell(order{Do: "take", Peer: name, Dir: dir, ID: uploadID(u), Within: patience, Keep: true}); err != nil {
			return err
		}
		if _, err := holder.next(); err != nil {
			return err
		}
	}
	for u := range uploads {
		if err := waiter.tell(order{Do: "take", Peer: name, Dir: dir, ID: uploadID(u), Delay: rand.N(settle), Within: patience}); err != nil {
			return err
		}
	}
	// The longest delay, and time for the waiter to come to rest.
	if err := pause(ctx, settle+10*time.Millisecond); err != nil {
		return err
	}
	killedAt := now()
	if err := holder.kill(); err != nil {
		return err
	}
	for range uploads {
		ev, err := waiter.next()
		if err != nil {
			return err
		}
		if ev.Got == 0 {
			return errors.New("the lock of a killed process was not to be had")
		}
		s.add("kill to lock", ns, float64(ev.Got-killedAt))
	}
	for u := range uploads {
		if _, err := waiter.do(order{Do: "let go", ID: uploadID(u)}); err != nil {
			return err
		}
		if leavesRequest(name) {
			if err := os.Remove(filepath.Join(dir, uploadID(u)+".stop")); err != nil {
				return err
			}
		}
	}
	return nil
}
