//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// folders measures uploads whose IDs have folders: a lock is held in each, and one folder
// after the other is at work.
func folders() measure {
	return measure{
		name:   "many-folders",
		title:  "1,000 active folders",
		rounds: 60,
		show:   []string{"hand-over", "cycle", "inotify watches", "watches per folder", "watches afterwards"},
		targets: []target{
			under("at most one inotify watch per active folder", count, 1, "watches per folder", most, inFolders(1000)),
			under("at most one inotify instance per process", count, 1, "inotify instances", most, inFolders(1000)),
			under("no watch left when nothing is held", count, 0, "watches afterwards", most, inFolders(1000)),
			flat("hand-over between processes unchanged within 10 %", 1.1, "hand-over", p50, inFolders(1), inFolders(1000)),
			flat("uncontended unchanged within 10 %", 1.1, "cycle", p50, inFolders(1), inFolders(1000)),
			{text: "uncontended unchanged within 10 %, but for the calls that open a folder", unit: ratio, limit: 1.1, figure: besideOpening},
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			var peers []peer
			for _, n := range []int{1, 1000} {
				for _, name := range []string{ours, stockFast, stock, floor, floorOpens} {
					p, err := folderPeer(e, name, n)
					if err != nil {
						return nil, err
					}
					peers = append(peers, p)
				}
			}
			return peers, nil
		},
	}
}

// besideOpening is a cycle of ours in many folders, over one in the same folder and what the bare
// calls need more that open one folder after the other.
func besideOpening(o *outcome) (float64, bool) {
	one, known := o.find(ours, inFolders(1), "cycle")
	many, knownToo := o.find(ours, inFolders(1000), "cycle")
	kept, found := o.find(floorOpens, inFolders(1), "cycle")
	opened, foundToo := o.find(floorOpens, inFolders(1000), "cycle")
	if !known || !knownToo || !found || !foundToo {
		return 0, false
	}
	return p50(many) / (p50(one) + p50(opened) - p50(kept)), true
}

func inFolders(n int) string {
	if n == 1 {
		return "1 folder"
	}
	return fmt.Sprint(n, " folders")
}

func folder(i int) string { return fmt.Sprintf("folder%04d", i) }

func folderPeer(e *env, name string, n int) (peer, error) {
	dir, err := e.tempDir()
	if err != nil {
		return peer{}, err
	}
	p := peer{name: name, at: inFolders(n)}
	all := e.pick(1000, 1000, 20)
	for i := range all {
		if err := os.Mkdir(filepath.Join(dir, folder(i)), 0o775); err != nil {
			return peer{}, err
		}
	}
	workers, err := e.startWorkers(3)
	if err != nil {
		return peer{}, err
	}
	f := &foldersAtWork{peer: name, dir: dir, all: all, folders: min(n, all), crowd: workers[:2], cycler: workers[2], atOnce: e.pick(1000, 100, 5)}
	if name == stockFast {
		p.budget = e.lasting(10*time.Second, 3*time.Second, time.Second)
	}
	p.round = f.round
	return p, nil
}

// foldersAtWork is one process that holds a lock in each folder, and others that use them.
type foldersAtWork struct {
	peer, dir string
	all       int
	folders   int      // in use in a round, out of all
	crowd     []*child // the one that holds, and one that asks
	cycler    *child
	first     int // folder in use in this round
	next      int // upload
	held      map[string]bool
	atOnce    int
}

func (f *foldersAtWork) round(ctx context.Context, s *series) error {
	// A file system can have more work with one folder than with another, so one at a time is
	// not always the same.
	if f.folders < f.all {
		f.first = (f.first + 389) % f.all
	}
	holds := f.peer == ours || f.peer == stockFast
	if holds {
		if err := f.holdAll(ctx, s); err != nil {
			return err
		}
	}
	ev, err := f.cycler.do(order{Do: "cycles", Peer: f.peer, Dir: f.dir, ID: "busy", Count: f.atOnce, From: f.next, FirstFolder: f.first, Folders: f.folders})
	if err != nil {
		return err
	}
	ev.Cycles.note(s)
	f.next += f.atOnce
	if !holds {
		return nil
	}
	return f.handOver(s)
}

// handOver has another process ask for some of the locks that are held in all folders in use.
func (f *foldersAtWork) handOver(s *series) error {
	holder, waiter := f.crowd[0], f.crowd[1]
	var asked []string
	for k := range min(10, f.folders) {
		id := f.id((f.next + k*97) % f.folders)
		if err := f.take(waiter, id); err != nil {
			return err
		}
		ev, err := waiter.next()
		if err != nil {
			return err
		}
		s.add("hand-over", ns, float64(ev.Got-ev.Called))
		asked = append(asked, id)
	}
	for _, w := range []*child{waiter, holder} {
		if err := letGoOf(w, asked); err != nil {
			return err
		}
	}
	for _, id := range asked {
		delete(f.held, id)
	}
	return nil
}

// holdAll holds a lock in each folder in use, and in no other one. The first time, it lets go
// of all of them once, to see what is left.
func (f *foldersAtWork) holdAll(ctx context.Context, s *series) error {
	holder := f.crowd[0]
	for first := f.held == nil; ; first = false {
		if err := f.change(holder); err != nil {
			return err
		}
		if err := pause(ctx, settleTime/10); err != nil {
			return err
		}
		if err := f.countWatches(holder, s); err != nil {
			return err
		}
		if !first {
			return nil
		}
		if err := letGoOf(holder, slices.Collect(maps.Keys(f.held))); err != nil {
			return err
		}
		clear(f.held)
		if err := pause(ctx, settleTime/10); err != nil {
			return err
		}
		_, left, err := inotifyUse(holder.pid())
		if err != nil {
			return err
		}
		s.add("watches afterwards", count, float64(left))
	}
}

// change has the holder let go of what is not in use any more, and take what is.
func (f *foldersAtWork) change(holder *child) error {
	wanted, missing := make(map[string]bool), 0
	for i := range f.folders {
		wanted[f.id(i)] = true
	}
	var other []string
	for id := range f.held {
		if !wanted[id] {
			other = append(other, id)
		}
	}
	if err := letGoOf(holder, other); err != nil {
		return err
	}
	for id := range wanted {
		if f.held[id] {
			continue
		}
		missing++
		if err := f.take(holder, id); err != nil {
			return err
		}
	}
	for range missing {
		if _, err := holder.next(); err != nil {
			return err
		}
	}
	f.held = wanted
	return nil
}

func letGoOf(w *child, ids []string) error {
	for _, id := range ids {
		if err := w.tell(order{Do: "let go", ID: id}); err != nil {
			return err
		}
	}
	for range ids {
		if _, err := w.next(); err != nil {
			return err
		}
	}
	return nil
}

func (f *foldersAtWork) countWatches(holder *child, s *series) error {
	instances, watches, err := inotifyUse(holder.pid())
	s.add("inotify instances", count, float64(instances))
	s.add("inotify watches", count, float64(watches))
	s.add("watches per folder", ratio, float64(watches)/float64(f.folders))
	return err
}

func (f *foldersAtWork) id(i int) string { return folder(f.first+i) + "/long" }

func (f *foldersAtWork) take(w *child, id string) error {
	return w.tell(order{Do: "take", Peer: f.peer, Dir: f.dir, ID: id, Within: patience})
}
