package filelocker

import (
	"context"
	"slices"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// upload is one upload that this process holds or waits for. At any time one holder at most
// has its turn: it holds the lock, or is the one who tries for it on disk. Everybody else
// stands in line, first come, first served.
//
// All fields but wake are guarded by the registry's mu.
type upload struct {
	dir  *directory
	name string

	taken bool    // somebody has the turn
	owner *holder // who holds; nil while the one with the turn still tries
	hold  *hold   // what the process has on disk
	line  []*holder

	waiting bool          // the one with the turn waits for another process
	wake    chan struct{} // tells it to look again
}

// holder is one call of Lock: waiting in line, having the turn, or holding.
type holder struct {
	lock    *lock
	release func() // asks the holder to let go
	asked   bool
	granted chan turn // nil if it never stood in line
}

// turn is what a holder gets from the one before it: the hold itself, or with none the right
// to try on disk. An unhurried one lets other processes try first.
type turn struct {
	hold      *hold
	unhurried bool
}

// upload returns the upload's entry, which lives while anybody has its turn.
func (d *directory) upload(name string) *upload {
	u := d.uploads[name]
	if u == nil {
		u = &upload{dir: d, name: name, wake: make(chan struct{}, 1)}
		d.uploads[name] = u
	}
	return u
}

// enqueue waits for w's turn, and asks whoever holds the lock to let go.
func (d *directory) enqueue(ctx context.Context, name string, w *holder) (*upload, turn, error) {
	process.mu.Lock()
	u := d.upload(name)
	if !u.taken {
		u.taken = true
		process.mu.Unlock()
		return u, turn{}, nil
	}
	w.granted = make(chan turn, 1)
	u.line = append(u.line, w)
	u.owner.ask()
	process.mu.Unlock()

	select {
	case t := <-w.granted:
		return u, t, nil
	case <-ctx.Done():
	}
	process.mu.Lock()
	i := slices.Index(u.line, w)
	if i >= 0 {
		u.line = slices.Delete(u.line, i, i+1)
	}
	process.mu.Unlock()
	if i >= 0 {
		return u, turn{}, handler.ErrLockTimeout
	}
	return u, <-w.granted, nil // it was granted in the meantime
}

// heldSince is when this process got the lock; zero if it is still trying to.
func (u *upload) heldSince() time.Time {
	process.mu.Lock()
	defer process.mu.Unlock()
	if u.hold == nil {
		return time.Time{}
	}
	return u.hold.start
}

// own makes w the holder. The registry's mu is held.
func (u *upload) own(w *holder, h *hold) {
	u.owner, u.hold = w, h
	w.lock.held, w.lock.upload = w, u
	if len(u.line) > 0 || h.wanted || h.lost {
		w.ask()
	}
}

// handOver gives the hold to the next in line, unless there is none, or the hold is lost, or
// another process wants it: then the disk decides who is next. The registry's mu is held.
func (u *upload) handOver() bool {
	if len(u.line) == 0 || u.hold.lost || u.hold.wanted {
		return false
	}
	next := u.shift()
	u.own(next, u.hold)
	next.granted <- turn{hold: u.hold}
	return true
}

// pass gives the turn, without a hold, to the next in line.
func (u *upload) pass(unhurried bool) {
	process.mu.Lock()
	defer process.mu.Unlock()
	if len(u.line) > 0 {
		u.shift().granted <- turn{unhurried: unhurried}
		return
	}
	u.taken = false
	delete(u.dir.uploads, u.name)
}

func (u *upload) shift() *holder {
	next := u.line[0]
	u.line[0] = nil
	u.line = u.line[1:]
	return next
}

// wakeWaiter wakes the one who waits for another process, if there is one. The registry's
// mu is held.
func (u *upload) wakeWaiter() bool {
	if !u.waiting {
		return false
	}
	select {
	case u.wake <- struct{}{}:
	default:
	}
	return true
}

// ask calls the release callback, once per holder, and in a goroutine of its own: it is
// foreign code and may block or call Unlock. The registry's mu is held.
func (w *holder) ask() {
	if w == nil || w.asked {
		return
	}
	w.asked = true
	if w.release != nil {
		go w.release()
	}
}
