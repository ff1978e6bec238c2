//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// peersIn does in one directory what the other measures do.
func peersIn(e *env, dir, at, exe string, group []*child) (peers []peer, err error) {
	for _, name := range []string{ours, stock, floor} {
		w, err := e.start("worker")
		if err != nil {
			return nil, err
		}
		o := order{Do: "cycles", Peer: name, Dir: dir, ID: "busy", Count: e.pick(500, 100, 5)}
		peers = append(peers, cyclePeer(w, o, at))
	}
	chain, err := inProcessPeers(e, "hand-over in one process", at, func() (string, error) { return dir, nil }, ours)
	if err != nil {
		return nil, err
	}
	for _, p := range chain {
		peers = append(peers, often(p))
	}
	for _, name := range []string{ours, stockFast} {
		handOver, kill := crowdPeer(e, crowd{peer: name, dir: dir, workers: group}, at), killPeer(e, name, at, dir, group[1])
		if name == ours { // to tell a tenth from chance takes some hundred
			handOver, kill = often(handOver), often(kill)
		}
		peers = append(peers, handOver, kill)
	}
	resume, err := stallPeer(e, exe, ours, at, dir, false)
	if err != nil {
		return nil, err
	}
	peers = append(peers, resume)
	if _, err := exec.LookPath("strace"); err == nil {
		calls := peer{name: ours, at: at, round: func(ctx context.Context, s *series) error { return countCalls(ctx, e, ours, dir, s) }}
		peers = append(peers, atMost(5, calls))
	}
	for _, name := range []string{ours, memory} {
		p, err := uploadPeer(e, name, at, dir, smallPart)
		if err != nil {
			return nil, err
		}
		peers = append(peers, atMost(e.pick(16, 2, 1), p))
	}
	return peers, nil
}

// often does in each round what p does in five.
func often(p peer) peer {
	const times = 5
	p.budget = 0
	once := p.round
	p.round = func(ctx context.Context, s *series) error {
		for range times {
			if err := once(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
	return p
}

// atMost does nothing any more after so many rounds.
func atMost(rounds int, p peer) peer {
	p.budget = 0
	once := p.round
	p.round = func(ctx context.Context, s *series) error {
		if rounds == 0 {
			return nil
		}
		rounds--
		return once(ctx, s)
	}
	return p
}

// heldBeside has processes hold locks in all the directories in the same minute, once.
type heldBeside struct {
	e        *env
	idlers   []*idler
	together func() error
}

func newHeldBeside(ctx context.Context, e *env) *heldBeside {
	h := &heldBeside{e: e}
	h.together = sync.OnceValue(func() error {
		if err := idleTogether(ctx, e, h.idlers); err != nil {
			return err
		}
		for _, i := range h.idlers {
			if err := i.end(); err != nil {
				return err
			}
		}
		return nil
	})
	return h
}

func (h *heldBeside) peer(dir, at string) (peer, error) {
	i, err := newIdler(h.e, ours, dir, h.e.pick(1000, 1000, 20))
	if err != nil {
		return peer{}, err
	}
	h.idlers = append(h.idlers, i)
	return atMost(1, peer{name: ours, at: at, round: func(_ context.Context, s *series) error {
		if err := h.together(); err != nil {
			return err
		}
		i.note(s)
		return nil
	}}), nil
}

// end kills the process and removes what it held.
func (i *idler) end() error {
	if err := i.process.kill(); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(i.dir, "held*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
