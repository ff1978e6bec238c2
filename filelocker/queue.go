package filelocker

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// upload is one upload that this process holds or waits for. At any time one holder at most
// has its turn: it holds the lock, or is the one who tries for it on disk. Readers share the
// turn of the first of them. Everybody else stands in line, first come, first served.
//
// All fields but wake are guarded by the registry's mu.
type upload struct {
	dir  *directory
	name string
	file string // the lock file's name

	taken  bool      // somebody has the turn
	owners []*holder // who hold: one, or readers; nobody while the one with the turn still tries
	first  [1]*holder
	hold   *hold // what the process has on disk
	line   []*holder

	waiting   bool          // the one with the turn waits for another process, and is to be woken
	heedsStop bool          // and may go on when the request of a third one ends
	heedsNew  bool          // or when somebody else gets the lock
	wake      chan struct{} // tells it to look again; nil until somebody waits
}

// holder is one call of Lock: waiting in line, having the turn, or holding.
type holder struct {
	lock    *lock
	who     string          // the request it belongs to; empty if unknown
	client  context.Context // ends when nobody waits for its answer any more
	release func()          // asks the holder to let go
	asked   bool
	shared  bool
	at      int32     // in owners
	granted chan turn // nil if it never stood in line
	below   *holder   // what the lock object held before
}

func (w *holder) mode() mode { return modeOf(w.shared) }

// turn is what a holder gets from the one before it: the hold itself, or with none the right
// to try on disk. An unhurried one lets other processes try first.
type turn struct {
	hold      *hold
	unhurried bool
	claim     *request // a writer's, on disk already
}

// upload returns the upload's entry, which lives while anybody has its turn.
func (d *directory) upload(name string) *upload {
	u := d.uploads[name]
	if u == nil {
		u = &upload{dir: d, name: name, file: name + lockSuffix}
		u.owners = u.first[:0]
		d.uploads[name] = u
	}
	return u
}

// enqueue waits for w's turn, and asks whoever holds the lock to let go.
func (d *directory) enqueue(ctx context.Context, name string, w *holder) (*upload, turn, error) {
	process.mu.Lock()
	u := d.upload(name)
	if h := u.hold; w.shared && u.open() && h.unseen() {
		// A young hold that lost its file must not be handed on unseen.
		process.mu.Unlock()
		h.look()
		process.mu.Lock()
		u = d.upload(name)
	}
	switch {
	case !u.taken:
		u.taken = true
		process.mu.Unlock()
		return u, turn{}, nil
	case w.shared && u.open():
		u.add(w)
		process.mu.Unlock()
		return u, turn{hold: u.hold}, nil
	}
	w.granted = make(chan turn, 1)
	u.line = append(u.line, w)
	u.press()
	process.mu.Unlock()
	return d.queue(ctx, u, w)
}

// queue stands in line until w has its turn or does not want it any more.
func (d *directory) queue(ctx context.Context, u *upload, w *holder) (*upload, turn, error) {
	var long <-chan time.Time
	if w.lock.Logger.Enabled(ctx, slog.LevelInfo) {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		long = timer.C
	}
	for waiting := true; waiting; {
		select {
		case t := <-w.granted:
			return u, t, nil
		case <-long:
			w.lock.Logger.Info("still waiting for a lock of this process", u.attrs(w)...)
		case <-ctx.Done():
			waiting = false
		case <-w.client.Done():
			waiting = false
		}
	}
	process.mu.Lock()
	i := slices.Index(u.line, w)
	if i >= 0 {
		u.line = slices.Delete(u.line, i, i+1)
		u.admit()
		u.press()
	}
	h := u.hold
	process.mu.Unlock()
	if i >= 0 {
		if h != nil && !w.shared {
			h.look() // takes back what was claimed for w
		}
		return u, turn{}, handler.ErrLockTimeout
	}
	return u, <-w.granted, nil // it was granted in the meantime
}

// open says whether a reader can join the readers of this process. The registry's mu is held.
func (u *upload) open() bool {
	h := u.hold
	return h != nil && h.shared && !h.wanted && !h.lost && len(u.line) == 0
}

// admit lets the readers at the head of the line join. The registry's mu is held.
func (u *upload) admit() {
	line := u.line
	u.line = nil
	for open := u.open(); open && len(line) > 0 && line[0].shared; line = line[1:] {
		u.add(line[0])
		line[0].granted <- turn{hold: u.hold}
		line[0] = nil
	}
	u.line = line
}

// own makes w the holder, and those behind it who can share. The registry's mu is held.
func (u *upload) own(w *holder, h *hold) {
	u.hold = h
	u.add(w)
	u.admit()
	if len(u.line) > 0 || h.wanted || h.lost {
		u.press()
	}
}

func (u *upload) add(w *holder) {
	w.at = int32(len(u.owners))
	u.owners = append(u.owners, w)
	w.below = w.lock.held
	w.lock.held, w.lock.upload = w, u
}

// drop ends what w holds; it is the last that its lock object got. The registry's mu is held.
func (u *upload) drop(w *holder) {
	last := len(u.owners) - 1
	u.owners[w.at] = u.owners[last]
	u.owners[w.at].at = w.at
	u.owners[last] = nil
	u.owners = u.owners[:last]
	w.lock.held = w.below
}

// handOver gives the hold to the next in line, unless there is none, or the hold is lost, or
// another process wants it: then the disk decides who is next. Readers take their turn there
// too, because a kernel lock cannot go from exclusive to shared in one step (flock(2)). The
// registry's mu is held.
func (u *upload) handOver() bool {
	h := u.hold
	if len(u.line) == 0 || h.shared || u.line[0].shared || h.lost || h.contended() {
		return false
	}
	next := u.shift()
	u.own(next, h)
	next.granted <- turn{hold: h}
	return true
}

// pass gives the turn, without a hold, to the next in line.
func (u *upload) pass(t turn) {
	process.mu.Lock()
	var next *holder
	if len(u.line) > 0 {
		next = u.shift()
	} else {
		u.taken = false
		delete(u.dir.uploads, u.name)
	}
	process.mu.Unlock()
	if t.claim != nil && (next == nil || next.shared) {
		t.claim.withdraw()
		t.claim = nil
	}
	if next != nil {
		next.granted <- t
	}
}

func (u *upload) shift() *holder {
	next := u.line[0]
	u.line[0] = nil
	u.line = u.line[1:]
	return next
}

// setWaiting says whether there is a waiter to be woken. The registry's mu is held.
func (u *upload) setWaiting(waiting bool) {
	if waiting != u.waiting {
		u.waiting = waiting
		u.dir.attend(waiting)
	}
}

// wakeWaiter wakes the one who waits for another process, if there is one. Before it sleeps again it
// says that it waits. The registry's mu is held.
func (u *upload) wakeWaiter() bool {
	if !u.waiting {
		return false
	}
	u.setWaiting(false)
	select {
	case u.wake <- struct{}{}:
	default:
	}
	return true
}

// hasWriter says whether one waits in line. The registry's mu is held.
func (u *upload) hasWriter() bool {
	return slices.ContainsFunc(u.line, func(w *holder) bool { return !w.shared })
}

// press asks the holders to let go, and has a look taken at whether readers of other processes
// have to be kept out for a writer. The registry's mu is held.
func (u *upload) press() {
	if len(u.line) > 0 || u.hold != nil && (u.hold.wanted || u.hold.lost) {
		u.ask()
	}
	if u.hold != nil && u.hold.shared {
		u.dir.listener.look(u.dir, u.hold)
	}
}

// ask calls the release callbacks, once per holder, and in goroutines of their own: they are
// foreign code and may block or call Unlock. The registry's mu is held.
func (u *upload) ask() {
	for _, w := range u.owners {
		if w.asked {
			continue
		}
		w.asked = true
		if w.release != nil {
			go w.release()
		}
	}
}
