package memlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// hold runs f, which has the lock since sent, and gives the lock back.
func (e *entry) hold(ctx context.Context, sent time.Time, f func(context.Context) error) (err error) {
	if time.Since(sent) >= lifetime-margin || ctx.Err() != nil {
		e.release(ctx)
		if ctx.Err() != nil {
			return failed(ended(ctx))
		}
		return failed(errors.New("memcached took too long to answer"))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	k := &keeper{entry: e, lose: func() { cancel(ErrLockLost) }, quit: make(chan struct{}), ended: make(chan bool, 1)}
	go k.keep(sent.Add(lifetime - margin))
	defer func() {
		// What f left running must not go on as if there were a lock.
		cancel(nil)
		close(k.quit)
		lost := <-k.ended
		if errors.Is(e.release(ctx), ErrLockLost) || lost {
			err = errors.Join(err, ErrLockLost)
		}
	}()
	return f(ctx)
}

// release gives the lock back, or leaves it to expire when that takes too long. That the
// entry turns out to be gone means that it was dropped: it cannot have expired yet.
func (e *entry) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), release)
	defer cancel()
	freed := make(chan error, 1)
	go func() { freed <- e.free() }()
	select {
	case err := <-freed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keeper keeps the entry alive while a function runs.
type keeper struct {
	*entry
	lose  func()        // tells the function
	quit  chan struct{} // closed when the function has ended
	ended chan bool     // then says whether the lock was lost
}

// keep refreshes the entry, and loses the lock no later than at the time until unless it has
// been refreshed.
//
// It never talks to the server itself: whatever the server does, the deadline is met.
func (k *keeper) keep(until time.Time) {
	type result struct {
		sent time.Time
		err  error
	}
	var (
		lost, dropped bool
		asked         int // refreshes without an answer yet
		results       = make(chan result, attempts)
		deadline      = time.NewTimer(time.Until(until))
		next          = time.NewTimer(pause())
	)
	defer deadline.Stop()
	defer next.Stop()
	for {
		select {
		case <-k.quit:
			k.ended <- lost || !time.Now().Before(until)
			return
		case <-deadline.C:
			// It may be the holder's still, and then is worth having until f has ended.
			lost = true
			k.lose()
		case <-next.C:
			if dropped || asked == attempts {
				continue // a late answer goes on from here
			}
			asked++
			go func() {
				sent, err := k.refresh(k.quit)
				results <- result{sent, err}
			}()
			next.Reset(attempt)
		case r := <-results:
			asked--
			next.Reset(pause())
			switch {
			case r.err == nil:
				if u := r.sent.Add(lifetime - margin); u.After(until) {
					until = u
					deadline.Reset(time.Until(until))
				}
			case errors.Is(r.err, ErrLockLost):
				lost, dropped = true, true
				k.lose()
			}
		}
	}
}

// pause is the time to the next refresh. It differs, so that holders that started together
// do not burden the server together.
func pause() time.Duration {
	return interval*3/4 + rand.N(interval/2)
}
