package filelocker

import (
	"context"
	"fmt"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

const (
	// firstLook is the time to the next look after an event and a refused try; each further one
	// takes twice as long, up to the poll interval. The event of a death can come before the
	// kernel lock is free.
	firstLook = 250 * time.Microsecond
	// nextLook is the same where there was no event, or somebody else has got the lock, who is not
	// about to die.
	nextLook = 8 * time.Millisecond
	// makingLook is the longest time to the next look where somebody else is making a lock file: a
	// writer is not told whether that one got the lock.
	makingLook = 50 * time.Millisecond
	// promptAnswer is how long the first to ask goes on trying before it has the kernel report what
	// happens, which takes longer, and promptTries how often at most, with a nap in between. A holder
	// that lets go at once needs as long.
	promptAnswer = 600 * time.Microsecond
	promptTries  = 12
	// courtesy is how long a process whose hold ended for another one's sake lets that one
	// try first.
	courtesy = 2 * time.Millisecond
)

// wait asks for the lock, stands in line, and watches until it has it.
func (a *acquirer) wait(ctx context.Context, unhurried bool) (*hold, error) {
	a.setWaiting(true, false)
	defer a.setWaiting(false, false)
	defer a.discardSpare() // before the next in line makes its own
	if h, err := a.ask(unhurried); h != nil || err != nil {
		return h, err
	}
	a.lineUp()
	if h, err := a.letOthersTry(ctx, unhurried); h != nil || err != nil {
		return h, err
	}
	return a.watch(ctx)
}

// watch tries again each time the disk may have changed.
func (a *acquirer) watch(ctx context.Context) (*hold, error) {
	pause := min(nextLook, a.every)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	before, woken := string(a.seen.content), false
	for log := a.waitLog(); ; {
		if !woken {
			a.setWaiting(true, false)
			a.dir.listener.listen(a.dir)
		}
		h, err := a.look()
		if h != nil || err != nil {
			return h, err
		}
		if woken { // what it was woken for is mostly all it waits for; if not, it listens again
			woken = false
			continue
		}
		log()
		if now := string(a.seen.content); now != before {
			pause = max(pause, min(nextLook, a.every))
			known := before != ""
			before = now
			if known && a.trusts() { // the line moves on
				if h, err = a.stand(ctx); h != nil || err != nil {
					return h, err
				}
				continue
			}
		}
		if a.making {
			pause = min(pause, makingLook)
		}
		timer.Reset(pause)
		select {
		case <-a.upload.wake:
			pause, woken = firstLook, true
		case <-timer.C:
			a.prompt = false
			pause = min(2*pause, a.every, requestLife/2)
		case <-ctx.Done():
			return nil, handler.ErrLockTimeout
		case <-a.client.Done():
			return nil, handler.ErrLockTimeout
		}
	}
}

// ask puts a writer's request on disk. Who is the first to ask makes its lock file while the holder
// hears of that, and tries with it for as long as one needs that answers at once: to have the
// kernel report the answer takes longer. What is in the way, if anything is, shows in the look that follows.
func (a *acquirer) ask(unhurried bool) (*hold, error) {
	if a.shared { // which sees first whether there is anybody to ask
		return nil, nil
	}
	if err := a.req.post(); err != nil {
		return nil, fmt.Errorf("ask for release: %w", err)
	}
	switch {
	case unhurried || a.dir.remote:
		return nil, nil
	case !a.req.made:
		if a.making { // under the name that is for those who have no request
			return a.tryNew()
		}
		return nil, nil
	}
	a.prompt = true
	start := monotonic()
	for n := 0; n < promptTries && start.since() < promptAnswer; n++ {
		if a.spare == nil || !a.exists() {
			m, err := a.publish()
			if err == nil {
				return a.held(m), nil
			}
			if a.spare == nil {
				break
			}
		}
		nap() // the holder may have been woken on this processor
	}
	return nil, nil
}

// letOthersTry leaves the lock to those ahead in line, and for a moment to other processes if this one has just
// let go for their sake.
func (a *acquirer) letOthersTry(ctx context.Context, unhurried bool) (*hold, error) {
	switch {
	case a.trusts():
		a.discardSpare()
		return a.stand(ctx)
	case unhurried:
		return nil, a.pauseForOthers(ctx)
	}
	return nil, nil
}

// look asks for the lock and tries to take it. A writer asks first: its claim holds from then
// on. A reader first sees whether there is anybody to ask, as other readers are not.
func (a *acquirer) look() (h *hold, err error) {
	if !a.shared {
		if err = a.req.post(); err != nil {
			return nil, fmt.Errorf("ask for release: %w", err)
		}
		if a.spare != nil {
			return a.tryNew()
		}
		return a.try()
	}
	a.setWaiting(true, true)
	if a.keptOut() {
		return nil, nil
	}
	a.setWaiting(true, false)
	if h, err = a.try(); h == nil && err == nil && a.seen.stamp().Mode != shared {
		if err = a.req.post(); err != nil {
			err = fmt.Errorf("ask for release: %w", err)
		}
	}
	return h, err
}

// pauseForOthers waits for courtesy, a writer with its request on disk. What is reported meanwhile
// includes the release that this process has just made itself.
func (a *acquirer) pauseForOthers(ctx context.Context) error {
	select {
	case <-time.After(courtesy):
		return nil
	case <-ctx.Done():
		return handler.ErrLockTimeout
	}
}

// setWaiting says what a.upload.wake is to be told of; heedsStop: of requests too, which a
// waiter that makes one itself must not be woken by.
func (a *acquirer) setWaiting(waiting, heedsStop bool) {
	process.mu.Lock()
	defer process.mu.Unlock()
	u := a.upload
	u.setWaiting(waiting)
	u.heedsStop, u.heedsNew = heedsStop, a.shared
	if u.wake == nil {
		u.wake = make(chan struct{}, 1)
	}
}
