package lockertest

import (
	"context"
	"errors"

	"github.com/tus/tusd/v2/pkg/handler"
)

// timeout: whatever ends the context, Lock returns handler.ErrLockTimeout.
func timeout(c *check, a, b handler.Locker) {
	id := c.id()
	holder := c.take(a, id)
	c.mustBeBusy(b, id)

	ctx, cancel := context.WithCancel(context.Background())
	cancelled := c.grip(b, id)
	cancelled.beginUntil(ctx)
	holder.mustBeAsked()
	cancel()
	cancelled.mustFail()

	cause, end := context.WithCancelCause(context.Background())
	ended := c.grip(b, id)
	ended.beginUntil(cause)
	end(errors.New("a cause of the test"))
	ended.mustFail()

	c.mustBeBusy(b, id)
	holder.unlock()
	c.mustBeFree(b, id)
	c.mustBeFree(a, id)
}

// timeoutLeavesNothing: who has given up interrupts nobody any more.
func timeoutLeavesNothing(c *check, a, b handler.Locker) {
	id := c.id()
	holder := c.take(a, id)
	c.mustBeBusy(b, id)
	if c.f.Audit != nil {
		c.f.Audit(c, c.locker, id)
	}
	holder.unlock()
	for _, l := range []handler.Locker{a, b} {
		next := c.take(l, id)
		c.settle(a, b)
		next.mustBeAskedOnly(0, "who had asked for the lock gave up before it was taken")
		next.unlock()
	}
}

// cancelAmongWaiters: a waiter that gives up takes nothing from the others.
func cancelAmongWaiters(c *check, a, b handler.Locker) {
	id := c.id()
	for i := range 3 {
		holder := c.take(a, id)
		ctx, cancel := context.WithCancel(context.Background())
		var patient []*grip
		quitter := c.grip(b, id)
		for n := range 3 {
			if n == i {
				quitter.beginUntil(ctx)
				continue
			}
			patient = append(patient, c.wait([]handler.Locker{a, b}[n%2], id))
		}
		holder.mustBeAsked()
		cancel()
		quitter.mustFail()
		for _, w := range patient {
			w.mustWait()
		}
		holder.unlock()
		c.all(len(patient), func(i int) error { return patient[i].pass() })
		c.settle(a, b)
		quitter.mustBeAskedOnly(0, "it never held the lock")
		c.mustBeFree(a, id)
	}
}

// cancelAtHandOver: a context that ends at the moment of the hand-over leaves either a holder
// or a free lock.
func cancelAtHandOver(c *check, a, b handler.Locker) {
	id := c.id()
	for i := range c.rounds(300) {
		holder := c.take(a, id)
		ctx, cancel := context.WithCancel(context.Background())
		waiter := c.grip(b, id)
		waiter.beginUntil(ctx)
		if i%2 == 0 {
			holder.mustBeAsked()
		}
		if i%3 == 0 {
			cancel()
			holder.unlock()
		} else {
			go cancel()
			holder.unlock()
		}
		if err := waiter.result(); err == nil {
			waiter.unlock()
		} else if !errors.Is(err, handler.ErrLockTimeout) {
			c.Fatalf("Lock of %q: got error %q, want handler.ErrLockTimeout or none", id, err)
		}
		c.mustBeFree(a, id)
		c.mustBeFree(b, id)
	}
}

// endedContext: a context that has ended already waits for nothing.
func endedContext(c *check) {
	id := c.id()
	holder := c.take(c.locker, id)
	waiter := c.grip(c.locker, id)
	waiter.beginUntil(ended())
	waiter.mustFail()
	c.mustBeBusy(c.locker, id)
	holder.unlock()
	c.mustBeFree(c.locker, id)
}

// endedContextFree: it does not get a free lock either.
func endedContextFree(c *check) {
	id := c.id()
	for range 20 {
		g := c.grip(c.locker, id)
		g.beginUntil(ended())
		g.mustFail()
	}
	c.mustBeFree(c.locker, id)
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
