//go:build linux

package main

import (
	"context"
	"errors"
)

// Which uploads a process begins with.
const (
	besideLeftovers = "beside leftovers"
	emptyDirectory  = "empty directory"
)

// leftovers measures what ten thousand lock files of a killed process cost who comes next.
func leftovers() measure {
	return measure{
		name:   "leftovers",
		title:  "10,000 leftover lock files of killed processes",
		rounds: 120,
		show:   []string{"first upload", "cycle", "cycle on a leftover", "leftover over cycle"},
		targets: []target{
			flat("first upload after start not delayed (within 10 %)", 1.1, "first upload", p50, emptyDirectory, besideLeftovers),
			under("a leftover costs under 2 × an uncontended cycle", ratio, 2, "leftover over cycle", p50, besideLeftovers),
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			var peers []peer
			for _, name := range []string{ours, stock} {
				l, err := newLeftovers(e, name)
				if err != nil {
					return nil, err
				}
				dir, err := e.tempDir()
				if err != nil {
					return nil, err
				}
				peers = append(peers,
					peer{name: name, at: besideLeftovers, round: l.round},
					peer{name: name, at: emptyDirectory, round: func(ctx context.Context, s *series) error {
						return firstUpload(e, name, dir, s)
					}})
			}
			return peers, nil
		},
	}
}

// leftBehind is a directory full of a killed process's lock files, and one who uses it then.
type leftBehind struct {
	e         *env
	name, dir string
	next      *child
	used, n   int
	atOnce    int
}

func newLeftovers(e *env, name string) (*leftBehind, error) {
	dir, err := e.tempDir()
	if err != nil {
		return nil, err
	}
	l := &leftBehind{e: e, name: name, dir: dir, n: e.pick(10_000, 10_000, 20), atOnce: e.pick(100, 100, 10)}
	doomed, err := e.start("worker")
	if err != nil {
		return nil, err
	}
	if _, err := doomed.do(order{Do: "fill", Peer: name, Dir: dir, ID: "left", Count: l.n}); err != nil {
		return nil, err
	}
	if err := doomed.kill(); err != nil {
		return nil, err
	}
	l.next, err = e.start("worker")
	return l, err
}

func (l *leftBehind) round(ctx context.Context, s *series) error {
	if err := firstUpload(l.e, l.name, l.dir, s); err != nil {
		return err
	}
	// Half of them stay, so that the directory is full in all rounds.
	if l.used+l.atOnce > l.n/2 {
		return nil
	}
	fresh, err := l.next.do(order{Do: "cycles", Peer: l.name, Dir: l.dir, ID: "fresh", Count: l.atOnce, Each: true})
	if err != nil {
		return err
	}
	dead, err := l.next.do(order{Do: "cycles", Peer: l.name, Dir: l.dir, ID: "left", Count: l.atOnce, From: l.used, Each: true})
	if err != nil {
		return err
	}
	l.used += l.atOnce
	a, b := float64(fresh.Cycles.Elapsed), float64(dead.Cycles.Elapsed)
	s.add("cycle", ns, a/float64(l.atOnce))
	s.add("cycle on a leftover", ns, b/float64(l.atOnce))
	s.add("leftover over cycle", ratio, b/a)
	return nil
}

// firstUpload is the first lock that a new process takes.
func firstUpload(e *env, name, dir string, s *series) error {
	w, err := e.start("worker")
	if err != nil {
		return err
	}
	ev, err := w.do(order{Do: "cycles", Peer: name, Dir: dir, ID: "first", Count: 1})
	if err == nil && len(ev.Cycles.Each) != 1 {
		err = errors.New("not one cycle")
	}
	if err != nil {
		return err
	}
	s.took("first upload", ev.Cycles.Each[0])
	return w.end()
}
