package filelocker

import (
	"context"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tusd-filelock/tusd-filelock/internal/line"
)

// Writers of several processes that wait for an upload stand in line, so that a hand-over wakes one of
// them and not all. It is no more than an agreement who watches the directory: the lock is taken
// on disk, as if there were no line, and who is not in it is not kept out.

const (
	// lineTrust is how long a waiter leaves the watching to the first in line, who may be stopped.
	lineTrust = 100 * time.Millisecond
	// linePatience is how often it does so in one wait: again when the lock has gone to somebody
	// else, as if the line moved.
	linePatience = 3
)

// lineUp is called when the request is on disk. Its file is what those who wait for one upload
// have in common, whatever they call the directory.
func (a *acquirer) lineUp() {
	if !a.claims() || a.dir.remote || a.dir.poll {
		return
	}
	place, err := line.Join("tusd-filelock/" + a.req.id.String())
	if err != nil {
		return // each for itself, then
	}
	a.place = place
	if !a.req.made { // else those ahead have come later
		a.patience = linePatience
	}
}

// leads says that a is the first in line.
func (a *acquirer) leads() bool { return a.place != nil && a.place.First() }

// trusts says that somebody else is to watch on a's behalf.
func (a *acquirer) trusts() bool { return a.place != nil && !a.place.First() && a.patience > 0 }

// leaveLine calls the next one, which waits for the lock from then on.
func (a *acquirer) leaveLine() {
	if a.place != nil {
		a.followed = a.place.Leave()
		a.place = nil
	}
}

// stand leaves the lock to those ahead in line. Without a hold and an error, it is time to look.
func (a *acquirer) stand(ctx context.Context) (*hold, error) {
	a.patience--
	a.setWaiting(false, false)
	defer a.setWaiting(true, false)
	trust := min(lineTrust, a.every)
	if a.lock.loyal {
		trust = time.Hour
	}
	patient, cancel := context.WithTimeout(ctx, trust)
	defer cancel()
	defer context.AfterFunc(a.client, cancel)()
	called := a.place.Wait(patient) == nil
	switch {
	case ctx.Err() != nil, a.client.Err() != nil:
		return nil, handler.ErrLockTimeout
	case !called:
		return nil, nil
	}
	return a.tryNew() // the one ahead takes the lock and gives it back meanwhile
}
