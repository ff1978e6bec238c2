//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// uncontended measures Lock and Unlock of an upload that nobody else wants. Each peer is a
// process of its own, so that what one holds or collects is no burden to another.
func uncontended() measure {
	return measure{
		name:   "uncontended",
		title:  "uncontended Lock + Unlock",
		rounds: 60,
		show:   []string{"cycle", "first cycle of a round", "allocations", "allocated"},
		setUp:  uncontendedPeers,
		targets: append(cycleTargets(),
			under("allocations per cycle halved: 40 in the first version", count, 20, "allocations", p50, situation("disk", 1, 0)),
		),
	}
}

// cycleTargets compare the worst of what 1, 2 and 8 goroutines do in one place.
func cycleTargets() (targets []target) {
	for _, limit := range []struct {
		text  string
		most  float64
		other string
	}{
		{"at most 1.3 × the floor", 1.3, floor},
		{"at most 1.3 × the floor with the looks that a lock needs", 1.3, floorLooks},
		{"at most 1.3 × the floor without a rename", 1.3, floorShort},
		{"at most 0.55 × stock", 0.55, stock},
	} {
		for _, fs := range []string{"disk", "memory"} {
			for _, held := range []int{0, 1000} {
				var at []string
				for _, g := range atOnce {
					at = append(at, situation(fs, g, held))
				}
				where := strings.Replace(at[0], ", 1 goroutine", "", 1)
				targets = append(targets, within(limit.text+": "+where, limit.most, limit.other, "cycle", p50, at...))
			}
		}
	}
	return targets
}

// atOnce is how many goroutines are at it.
var atOnce = []int{1, 2, 8}

// situation names the file system, how many goroutines are at it, and how many locks are held
// in the same directory.
func situation(fs string, goroutines, held int) string {
	s := fmt.Sprintf("%s, %d goroutines", fs, goroutines)
	if goroutines == 1 {
		s = fs + ", 1 goroutine"
	}
	if held > 0 {
		s += ", beside long holds"
	}
	return s
}

func uncontendedPeers(ctx context.Context, e *env) ([]peer, error) {
	var peers []peer
	for _, fs := range e.fileSystems() {
		for _, held := range []int{0, e.pick(1000, 1000, 20)} {
			for _, name := range []string{ours, stock, floor, floorLooks, floorShort} {
				dir, err := e.tempDirIn(fs.dir)
				if err != nil {
					return nil, err
				}
				w, err := cycler(e, name, dir, held)
				if err != nil {
					return nil, err
				}
				for _, g := range atOnce {
					o := order{Do: "cycles", Peer: name, Dir: dir, ID: "busy", Goroutines: g, Count: e.pick(2000, 500, 8) / g}
					peers = append(peers, cyclePeer(w, o, situation(fs.name, g, held)))
				}
			}
		}
	}
	// Neighbours in time are what is compared.
	slices.SortStableFunc(peers, func(a, b peer) int { return strings.Compare(a.at, b.at) })
	return peers, pause(ctx, settleTime)
}

// cycler starts a process that holds some locks in dir, and listens.
func cycler(e *env, name, dir string, held int) (*child, error) {
	w, err := e.start("worker")
	if err != nil {
		return nil, err
	}
	if held > 0 {
		_, err = w.do(order{Do: "fill", Peer: name, Dir: dir, ID: "held", Count: held})
	}
	return w, err
}

func cyclePeer(w *child, o order, at string) peer {
	return peer{name: o.Peer, at: at, round: func(ctx context.Context, s *series) error {
		ev, err := w.do(o)
		if err != nil {
			return err
		}
		ev.Cycles.note(s)
		if o.Goroutines == 1 && len(ev.Cycles.Each) > 0 { // else it waits for those of the others
			s.took("first cycle of a round", ev.Cycles.Each[0])
		}
		return nil
	}}
}
