//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// directorySize repeats measures in directories with many other uploads.
func directorySize() measure {
	m := measure{
		name:   "directory-size",
		title:  "0, 10,000, 100,000 other uploads in the directory",
		rounds: 60,
		show: append(timesInDirectory(), "calls of the locker",
			"throughput", "CPU time of the server per upload", "heap per lock", "CPU per minute", "system calls"),
		setUp: directoryPeers,
	}
	for _, fs := range []string{"disk", "memory"} {
		empty, many := beside(fs, 0), []string{beside(fs, 10_000), beside(fs, 100_000)}
		for _, metric := range timesInDirectory() {
			m.targets = append(m.targets, flat(fs+": "+metric+" flat within 10 %", 1.1, metric, p50, empty, many...))
		}
		m.targets = append(m.targets,
			flat(fs+": system calls per cycle flat within 10 %", 1.1, "calls of the locker", least, empty, many...),
			flatOrLess(fs+": CPU of 1,000 held locks, + 1 ms per minute at most", ns, 1e6, "CPU per minute", empty, many...),
			flatOrLess(fs+": system calls of 1,000 held locks, + 1 per second at most", perSec, 1, "system calls", empty, many...),
			flat(fs+": heap per held lock flat within 10 %", 1.1, "heap per lock", p50, empty, many...),
			keepsUp(fs+": 1,000 uploads at once, at least 90 % of the throughput in the empty directory", empty, many),
			keepsUp(fs+": the same, but for what memorylocker loses too", empty, many, memory),
		)
	}
	m.targets = append(m.targets, target{
		text: "disk: cycle flat within 10 %, but for what the floor loses too", unit: ratio, limit: 1.1, figure: flatBesideFloor,
	})
	return m
}

// timesInDirectory are those to be drawn.
func timesInDirectory() []string {
	return []string{"cycle", "hand-over in one process", "hand-over", "kill to lock", "HEAD"}
}

// keepsUp says that the throughput beside others is at least nine tenths of that in the empty directory; with another
// peer, of what that one keeps.
func keepsUp(text, empty string, many []string, peers ...string) target {
	return target{text: text, unit: ratio, limit: 0.9, atLeast: true, figure: func(o *outcome) (v float64, known bool) {
		for i, at := range many {
			share, ok := kept(o, ours, at, empty)
			for _, other := range peers {
				its, known := kept(o, other, at, empty)
				if ok = ok && known; ok {
					share /= its
				}
			}
			if !ok {
				return 0, false
			}
			if i == 0 || share < v {
				v = share
			}
		}
		return v, true
	}}
}

// kept is a peer's throughput in one situation over that in another.
func kept(o *outcome, peer, at, than string) (float64, bool) {
	there, ok := o.find(peer, at, "throughput")
	alone, known := o.find(peer, than, "throughput")
	if !ok || !known || there.P50 == 0 || alone.P50 == 0 {
		return 0, false
	}
	return there.P50 / alone.P50, true
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
	held := newHeldBeside(ctx, e)
	for _, fs := range e.fileSystems() {
		for _, n := range []int{0, 10_000, 100_000} {
			dir, err := e.tempDirIn(fs.dir)
			if err != nil {
				return nil, err
			}
			e.progress(fmt.Sprintf("directory-size: making %d uploads", n))
			there := e.pick(n, n/10, n/1000)
			if err := makeUploads(ctx, dir, there); err != nil {
				return nil, err
			}
			e.onClose(func() error { return stillThere(dir, there) })
			more, err := peersIn(e, dir, beside(fs.name, n), exe, group)
			if err != nil {
				return nil, err
			}
			idle, err := held.peer(dir, beside(fs.name, n))
			if err != nil {
				return nil, err
			}
			peers = append(append(peers, more...), idle)
		}
	}
	return merge(peers), nil
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

// others is what the names of the other uploads begin with.
const others = "other-"

// stillThere makes sure that what was measured was beside n other uploads to the end.
func stillThere(dir string, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	left := 0
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), others) {
			left++
		}
	}
	if left != 2*n {
		return fmt.Errorf("%s: of the files of %d other uploads, %d are left", dir, n, left)
	}
	return nil
}

// makeUploads makes what the store has of n uploads: their data and their info.
func makeUploads(ctx context.Context, dir string, n int) error {
	for i := range n {
		name := filepath.Join(dir, others+strconv.Itoa(i))
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
