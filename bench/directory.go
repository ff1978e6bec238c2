//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// directorySize repeats measures in directories with many other uploads.
func directorySize() measure {
	m := measure{
		name:   "directory-size",
		title:  "0, 10,000, 100,000 other uploads in the directory",
		rounds: 60,
		show:   []string{"cycle", "hand-over in one process", "hand-over", "kill to lock", "HEAD"},
		setUp:  directoryPeers,
	}
	for _, fs := range []string{"disk", "memory"} {
		for _, metric := range m.show {
			m.targets = append(m.targets, flat(fs+": "+metric+" flat within 10 %", 1.1, metric, p50, beside(fs, 0), beside(fs, 10_000), beside(fs, 100_000)))
		}
	}
	m.targets = append(m.targets, target{
		text: "disk: cycle flat within 10 %, but for what the floor loses too", unit: ratio, limit: 1.1, figure: flatBesideFloor,
	})
	return m
}

func beside(fs string, n int) string { return fmt.Sprintf("%s, beside %d", fs, n) }

// flatBesideFloor is how much more a cycle of ours takes in a large directory, over how much
// more the bare system calls take there.
func flatBesideFloor(o *outcome) (float64, bool) {
	return worst(o, []string{beside("disk", 10_000), beside("disk", 100_000)}, func(at string) (float64, bool) {
		there, ok := quotient(o, "cycle", p50, floor, at, at)
		empty, known := quotient(o, "cycle", p50, floor, beside("disk", 0), beside("disk", 0))
		return there / empty, ok && known
	})
}

func directoryPeers(ctx context.Context, e *env) ([]peer, error) {
	exe, err := e.build(ctx)
	if err != nil {
		return nil, err
	}
	group, err := e.startWorkers(2)
	if err != nil {
		return nil, err
	}
	var peers []peer
	for _, fs := range e.fileSystems() {
		for _, n := range []int{0, 10_000, 100_000} {
			dir, err := e.tempDirIn(fs.dir)
			if err != nil {
				return nil, err
			}
			e.progress(fmt.Sprintf("directory-size: making %d uploads", n))
			if err := makeUploads(ctx, dir, e.pick(n, n/10, n/1000)); err != nil {
				return nil, err
			}
			more, err := peersIn(e, dir, beside(fs.name, n), exe, group)
			if err != nil {
				return nil, err
			}
			peers = append(peers, more...)
		}
	}
	return merge(peers), nil
}

// peersIn does everything there is in one directory.
func peersIn(e *env, dir, at, exe string, group []*child) (peers []peer, err error) {
	for _, name := range []string{ours, stock, floor} {
		w, err := e.start("worker")
		if err != nil {
			return nil, err
		}
		o := order{Do: "cycles", Peer: name, Dir: dir, ID: "busy", Count: e.pick(30, 30, 5)}
		peers = append(peers, cyclePeer(w, o, at))
	}
	chain, err := inProcessPeers(e, "hand-over in one process", at, func() (string, error) { return dir, nil }, ours)
	if err != nil {
		return nil, err
	}
	peers = append(peers, chain...)
	for _, name := range []string{ours, stockFast} {
		handOver, kill := crowdPeer(e, crowd{peer: name, dir: dir, workers: group}, at), killPeer(e, name, at, dir, group[1])
		if name == ours { // to tell a tenth from chance takes some hundred
			handOver, kill = often(handOver), often(kill)
		}
		peers = append(peers, handOver, kill)
	}
	resume, err := stallPeer(e, exe, ours, at, dir, false)
	return append(peers, resume), err
}

// often does in each round what p does in five.
func often(p peer) peer {
	const times = 5
	p.budget *= times
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

// merge makes one peer of those that have the same name and situation.
func merge(peers []peer) (merged []peer) {
	type key struct{ name, at string }
	index := make(map[key]int)
	for _, p := range peers {
		k := key{p.name, p.at}
		i, known := index[k]
		if !known {
			index[k] = len(merged)
			merged = append(merged, p)
			continue
		}
		before := merged[i].round
		merged[i].budget = max(merged[i].budget, p.budget)
		merged[i].round = func(ctx context.Context, s *series) error {
			if err := before(ctx, s); err != nil {
				return err
			}
			return p.round(ctx, s)
		}
	}
	return merged
}

// makeUploads makes what the store has of n uploads: their data and their info.
func makeUploads(ctx context.Context, dir string, n int) error {
	for i := range n {
		name := filepath.Join(dir, "other"+strconv.Itoa(i))
		for _, file := range []string{name, name + ".info"} {
			if err := os.WriteFile(file, nil, 0o664); err != nil {
				return err
			}
		}
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
