//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// betweenProcesses measures hand-overs from process to process while many of them wait.
// Who has the lock lets go as soon as it is asked.
func betweenProcesses() measure {
	return measure{
		name:   "between-processes",
		title:  "hand-over between processes",
		rounds: 150,
		show:   []string{"hand-over", "hand-over but the first", "unlock to lock", "longest wait over mean", "not served"},
		targets: append(handOverTargets(),
			under("longest wait within 3 × the mean, 64 waiters (p50 of the rounds)", ratio, 3, "longest wait over mean", p50, waiters(64)),
			under("longest wait within 3 × the mean, 64 waiters (worst round)", ratio, 3, "longest wait over mean", most, waiters(64)),
		),
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			group, err := e.startWorkers(1 + e.pick(64, 64, 8))
			if err != nil {
				return nil, err
			}
			var peers []peer
			for _, n := range crowds {
				for _, name := range e.waiting(ours, stockFast, stock, floorBound, floorNames, floorAsk) {
					dir, err := e.tempDir()
					if err != nil {
						return nil, err
					}
					peers = append(peers, crowdPeer(e, crowd{peer: name, dir: dir, workers: group[:1+min(n, len(group)-1)]}, waiters(n)))
				}
			}
			return peers, nil
		},
	}
}

// crowds is how many processes wait.
var crowds = []int{1, 2, 8, 64}

func handOverTargets() (targets []target) {
	for _, n := range crowds {
		targets = append(targets, under("p50 under 0.5 ms, "+waiters(n), ns, 0.5e6, "hand-over", p50, waiters(n)))
	}
	for _, n := range crowds {
		targets = append(targets, under("p99 under 5 ms, "+waiters(n), ns, 5e6, "hand-over", p99, waiters(n)))
	}
	return targets
}

func waiters(n int) string {
	if n == 1 {
		return "1 waiter"
	}
	return fmt.Sprint(n, " waiters")
}

// crowd is a holder, the first worker, and the others who wait, for one upload or several at
// the same time.
type crowd struct {
	peer, dir string
	workers   []*child
	uploads   int
	heldFor   time.Duration // before anybody waits; a random part of it
	within    time.Duration // how long the waiters wait
}

func crowdPeer(e *env, c crowd, at string) peer {
	c.uploads, c.heldFor, c.within = 1, 20*time.Millisecond, patience/2
	p := peer{name: c.peer, at: at, budget: e.lasting(10*time.Second, 3*time.Second, time.Second)}
	if c.peer == stock {
		// One hand-over takes seconds, so there are many at a time, and no more than fit in.
		p.rounds = 1
		c.uploads = max(e.pick(64, 16, 1)/len(c.workers), 1)
		c.heldFor = e.lasting(stockHolderPoll, stockHolderPoll, 0)
		c.within = e.lasting(20*time.Second, 8*time.Second, time.Second)
	}
	p.round = func(ctx context.Context, s *series) error { return c.round(ctx, s) }
	return p
}

func (c crowd) round(ctx context.Context, s *series) error {
	holder, waiters := c.workers[0], c.workers[1:]
	for u := range c.uploads {
		if err := holder.tell(order{Do: "take", Peer: c.peer, Dir: c.dir, ID: uploadID(u), Within: patience}); err != nil {
			return err
		}
		if _, err := holder.next(); err != nil {
			return err
		}
	}
	// What starts a moment ago is not what a resumed upload meets.
	if err := pause(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	quiet := 5*time.Millisecond + time.Duration(len(waiters))*2*time.Millisecond // about as long as all of them take
	for u := range c.uploads {
		delay := rand.N(c.heldFor)
		for _, w := range waiters {
			o := order{Do: "take", Peer: c.peer, Dir: c.dir, ID: uploadID(u), Delay: delay, Within: c.within, Quiet: quiet}
			if err := w.tell(o); err != nil {
				return err
			}
		}
	}
	for _, w := range waiters {
		for range c.uploads {
			if _, err := w.next(); err != nil {
				return err
			}
		}
	}
	grips, err := c.letGo()
	if err != nil {
		return err
	}
	for id, g := range grips {
		if leavesRequest(c.peer) {
			if err := os.Remove(filepath.Join(c.dir, id+".stop")); err != nil {
				return err
			}
		}
		if err := noteCrowd(g, s); err != nil {
			return err
		}
	}
	return nil
}

// letGo ends the round, and returns by upload what has happened to each worker in it.
func (c crowd) letGo() (map[string][]event, error) {
	grips := make(map[string][]event)
	for u := range c.uploads {
		for _, w := range c.workers {
			if err := w.tell(order{Do: "let go", ID: uploadID(u)}); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range c.workers {
		for range c.uploads {
			ev, err := w.next()
			if err != nil {
				return nil, err
			}
			grips[ev.ID] = append(grips[ev.ID], ev)
		}
	}
	return grips, nil
}

// noteCrowd derives the figures of one upload from what its holders say. The first to hold it
// is the one that all others waited for.
func noteCrowd(grips []event, s *series) error {
	served := slices.DeleteFunc(slices.Clone(grips), func(g event) bool { return g.Got == 0 })
	slices.SortFunc(served, func(a, b event) int { return cmp.Compare(a.Got, b.Got) })
	s.add("not served", count, float64(len(grips)-len(served)))
	if len(served) < 2 {
		return nil
	}
	var longest, sum float64
	for i, g := range served[1:] {
		before := served[i]
		if before.Unlocked == 0 || before.Unlocked > g.Got {
			return errors.New("two have held the lock at the same time")
		}
		// Nobody can be asked to let go before somebody waits.
		first := slices.MinFunc(served[i+1:], func(a, b event) int { return cmp.Compare(a.Called, b.Called) })
		took := float64(g.Got - max(before.Got, first.Called))
		s.add("hand-over", ns, took)
		if i > 0 {
			s.add("hand-over but the first", ns, took)
		}
		s.add("unlock to lock", ns, float64(g.Got-before.Unlocked))
		wait := float64(g.Got - g.Called)
		s.add("wait", ns, wait)
		longest, sum = max(longest, wait), sum+wait
	}
	if len(served) == len(grips) && len(served) > 2 {
		s.add("longest wait over mean", ratio, longest/(sum/float64(len(served)-1)))
	}
	return nil
}

func uploadID(i int) string { return fmt.Sprintf("upload%d", i) }
