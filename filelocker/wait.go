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
	// courtesy is how long a process whose hold ended for another one's sake lets that one
	// try first.
	courtesy = 2 * time.Millisecond
)

// wait tries again each time the disk may have changed.
func (a *acquirer) wait(ctx context.Context, req *request, unhurried bool) (*hold, error) {
	a.setWaiting(true, false)
	defer a.setWaiting(false, false)
	if a.mode == exclusive { // the holder can hear of it while the watch is set up
		if err := req.post(); err != nil {
			return nil, fmt.Errorf("ask for release: %w", err)
		}
	}
	a.lineUp(req)
	defer a.leaveLine()
	if a.trusts() {
		unhurried = false // the others have been let go first
		if h, err := a.stand(ctx); h != nil || err != nil {
			return h, err
		}
	}
	a.dir.listener.listen(a.dir)

	if unhurried {
		if err := a.letOthersTry(ctx); err != nil {
			return nil, err
		}
	}
	pause := min(nextLook, a.every)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for log := a.waitLog(); ; {
		before := a.seen.holder.Token
		h, err := a.look(req)
		if h != nil || err != nil {
			return h, err
		}
		log()
		if a.seen.holder.Token != before {
			pause = max(pause, min(nextLook, a.every))
			if before != "" && a.trusts() { // the line moves on
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
			pause = firstLook
		case <-timer.C:
			pause = min(2*pause, a.every, requestLife/2)
		case <-ctx.Done():
			return nil, handler.ErrLockTimeout
		case <-a.client.Done():
			return nil, handler.ErrLockTimeout
		}
	}
}

// look asks for the lock and tries to take it. A writer asks first: its claim holds from then
// on. A reader first sees whether there is anybody to ask, as other readers are not.
func (a *acquirer) look(req *request) (h *hold, err error) {
	if a.mode == exclusive {
		if err = req.post(); err == nil {
			return a.try()
		}
		return nil, fmt.Errorf("ask for release: %w", err)
	}
	a.setWaiting(true, true)
	if a.keptOut() {
		return nil, nil
	}
	a.setWaiting(true, false)
	if h, err = a.try(); h == nil && err == nil && a.seen.holder.Mode != shared {
		if err = req.post(); err != nil {
			err = fmt.Errorf("ask for release: %w", err)
		}
	}
	return h, err
}

// letOthersTry waits for courtesy, a writer with its request on disk. What is reported meanwhile
// includes the release that this process has just made itself.
func (a *acquirer) letOthersTry(ctx context.Context) error {
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
	a.upload.waiting, a.upload.heedsStop, a.upload.heedsNew = waiting, heedsStop, a.mode == shared
	if a.upload.wake == nil {
		a.upload.wake = make(chan struct{}, 1)
	}
}
