package filelocker

import (
	"bytes"
	"log/slog"
	"sync"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/dirwatch"
)

// listener hears what happens in one directory, for all holds and waiters of this process.
// It has one goroutine, which looks at the disk on behalf of the holds; it starts with the
// first long hold or the first wait and ends when the directory is closed.
type listener struct {
	interval time.Duration
	logger   *slog.Logger

	mu    sync.Mutex // makes watch once
	watch *dirwatch.Watch

	// Guarded by the registry's mu.
	looks []*hold
	wake  chan struct{}
	done  chan struct{} // nil until the goroutine runs
}

// listen returns when changes in d are reported, so that what is found on disk after it
// cannot change unnoticed.
func (l *listener) listen(d *directory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch != nil {
		l.watch.Listen()
		return
	}
	interval := l.interval
	if d.remote {
		interval = min(interval, beatEvery)
	}
	l.watch = dirwatch.New(d.descriptor(), d.path, dirwatch.Options{
		Interval: interval,
		Remote:   d.remote,
		Poll:     d.poll || d.beats.Load(),
		Logger:   l.logger,
		Wanted:   d.wanted,
	}, d.notify)
}

// descriptor is that which the watch hears by, or negative.
func (l *listener) descriptor() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watch.Descriptor()
}

// look has the goroutine look at h soon. The registry's mu is held.
func (l *listener) look(d *directory, h *hold) {
	if h.looking {
		return
	}
	h.looking = true
	l.looks = append(l.looks, h)
	if l.done == nil {
		l.wake, l.done = make(chan struct{}, 1), make(chan struct{})
		go l.run(d)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// wakeUp is look because of a report. Until it is taken, h needs no other one; the next would mostly be
// of its own end. The registry's mu is held.
func (l *listener) wakeUp(d *directory, h *hold) {
	h.attend(false)
	l.look(d, h)
}

// run looks for a hold that was told of something before it has more reported, because mostly that is
// all there is to hear; if not, it listens and looks again. For one that has come of age, about
// which nobody has said anything, it listens first.
func (l *listener) run(d *directory) {
	defer close(l.done)
	for range l.wake {
		process.mu.Lock()
		looks := l.looks
		l.looks = nil
		for _, h := range looks {
			h.looking = false // what happens from here on needs another look
		}
		process.mu.Unlock()
		for _, h := range looks {
			if !h.hears() {
				h.tryLook()
			}
			if h.hear() {
				l.listen(d)
				if !d.remote { // a file server hears of each close
					h.closeBefore(l.descriptor())
				}
				h.tryLook()
			}
		}
	}
}

// close ends the goroutine and then the watch. The directory is out of the registry and has
// no uploads, so nobody asks for a look any more, not even the watch.
func (l *listener) close() {
	process.mu.Lock()
	done := l.done
	process.mu.Unlock()
	if done != nil {
		close(l.wake)
		<-done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch != nil {
		l.watch.Close()
	}
}

// notify is told by the watch that name may have changed, or anything if it is nil. It wakes
// who waits for that and answers whether anybody did.
func (d *directory) notify(name []byte, appeared bool) (mattered bool) {
	stop, isStop := bytes.CutSuffix(name, []byte(stopSuffix))
	lock, isLock := bytes.CutSuffix(name, []byte(lockSuffix))
	// The kernel reports the death of a holder under the first name of its file, which after a
	// link is the temporary one, and that does not tell the upload.
	isFirst := d.linked() && bytes.HasPrefix(name, []byte(tempPrefix))
	if name != nil && !isStop && !isLock && !isFirst {
		return false
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	switch {
	case name == nil:
		return d.anyChanged()
	case isStop:
		return d.stopChanged(stop)
	case isLock:
		return d.lockChanged(lock, appeared)
	}
	for _, u := range d.uploads {
		mattered = u.wakeWaiter() || mattered
	}
	return mattered
}

func (d *directory) anyChanged() bool {
	for _, u := range d.uploads {
		u.wakeWaiter()
		if u.hold != nil && u.hold.attentive {
			d.listener.look(d, u.hold)
		}
	}
	return true
}

func (d *directory) stopChanged(upload []byte) bool {
	u := d.uploads[string(upload)]
	switch {
	case u == nil:
		return false
	case u.hold == nil:
		return u.heedsStop && u.wakeWaiter()
	}
	d.listener.wakeUp(d, u.hold)
	return true
}

func (d *directory) lockChanged(upload []byte, appeared bool) bool {
	u := d.uploads[string(upload)]
	if u == nil {
		return false
	}
	// A young hold has just made this event itself.
	if u.hold != nil && u.hold.attentive {
		d.listener.wakeUp(d, u.hold)
		return true
	}
	// A new lock file lets nobody in but readers.
	return (u.heedsNew || !appeared) && u.wakeWaiter()
}

// attend notes that one more, or one less, needs to hear what happens in d. A hold that is young and
// a waiter that is about to look need not: what they do themselves would be all they hear of. The
// registry's mu is held.
func (d *directory) attend(more bool) {
	if more {
		d.attentive++
	} else {
		d.attentive--
	}
}

// wanted says whether anybody does.
func (d *directory) wanted() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return d.attentive > 0
}
