package lockertest

import (
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"
)

// requestOnce: a holder that takes its time is asked once, whoever comes.
func requestOnce(c *check, a, b handler.Locker) {
	id := c.id()
	holder := c.take(a, id)
	waiter := c.wait(b, id)
	holder.mustBeAsked()
	c.mustBeBusy(a, id)
	c.mustBeBusy(b, id)
	c.settle(a, b)
	holder.mustBeAskedOnly(1, "several waiters are one reason")
	holder.unlock()
	waiter.mustGet()
	waiter.unlock()
	c.settle(a, b)
	holder.mustBeAskedOnly(1, "after the hand-over")
	c.mustBeFree(a, id)
}

// noRequest: a holder is not asked if nobody wants its lock.
func noRequest(c *check, a, b handler.Locker) {
	id, other := c.id(), c.id()
	holder := c.take(a, id)
	wanted := c.take(a, other)
	waiter := c.wait(b, other)
	wanted.mustBeAsked()
	c.settle(a, b)
	holder.mustBeAskedOnly(0, "somebody waits for another upload")
	wanted.unlock()
	waiter.mustGet()
	waiter.unlock()
	c.settle(a, b)
	holder.mustBeAskedOnly(0, "nobody waits")
	holder.unlock()
	c.mustBeFree(b, id)
}

// noRequestAfterUnlock: who has let go is not asked on behalf of those who come then.
func noRequestAfterUnlock(c *check, a, b handler.Locker) {
	id := c.id()
	first := c.take(a, id)
	first.unlock()
	second := c.take(a, id)
	waiter := c.wait(b, id)
	second.mustBeAsked()
	c.settle(a, b)
	first.mustBeAskedOnly(0, "it had let go before anybody waited")
	second.unlock()
	waiter.mustGet()
	waiter.unlock()
	c.mustBeFree(b, id)
}

// ownRequest: who had to wait is not asked on behalf of itself.
func ownRequest(c *check, a, b handler.Locker) {
	id := c.id()
	for i := range c.rounds(20) {
		holder := c.take(a, id)
		waiter := c.wait(b, id)
		if i%2 == 0 {
			holder.mustBeAsked()
		}
		holder.unlock()
		waiter.mustGet()
		c.settle(a, b)
		waiter.mustBeAskedOnly(0, "nobody but itself has asked")
		waiter.unlock()
	}
	c.mustBeFree(a, id)
}

// unlockInCallback: the callback may unlock, and the one that it unlocks for gets the lock.
func unlockInCallback(c *check, a, b handler.Locker) {
	id := c.id()
	holder := c.letGoWhenAsked(a, id)
	holder.begin()
	holder.mustGet()
	for i := range c.rounds(20) {
		next := c.letGoWhenAsked([]handler.Locker{b, a}[i%2], id)
		next.begin()
		next.mustGet()
		if !holder.given.Load() {
			c.Fatal("somebody else holds the lock already")
		}
		holder = next
	}
	var crowd []*grip
	for i := range 8 {
		g := c.letGoWhenAsked([]handler.Locker{b, a}[i%2], id)
		g.begin()
		crowd = append(crowd, g)
	}
	for _, g := range append(crowd, holder) {
		g.mustGet()
	}
	last := c.take(a, id)
	for _, g := range append(crowd, holder) {
		if err := receive(c, g.freed, "the callback to unlock"); err != nil {
			c.Fatalf("Unlock in the callback: %v", err)
		}
	}
	c.mustBeBusy(b, id)
	last.unlock()
	c.mustBeFree(b, id)
}

// blockedCallback: a callback that does not return holds up nobody but its own request.
func blockedCallback(c *check, a, b handler.Locker) {
	id, other := c.id(), c.id()
	goOn, returned := make(chan struct{}), make(chan struct{})
	unblock := sync.OnceFunc(func() { close(goOn) })
	c.Cleanup(unblock)
	holder := c.grip(a, id)
	holder.then = sync.OnceFunc(func() {
		<-goOn
		close(returned)
	})
	holder.begin()
	holder.mustGet()

	waiter := c.wait(b, id)
	holder.mustBeAsked()
	c.settle(a, b)
	c.mustBeFree(b, other)
	c.mustBeBusy(b, id)
	c.mustBeBusy(a, id)
	holder.unlock()
	waiter.mustGet()
	waiter.unlock()
	c.mustBeFree(a, id)
	unblock()
	receive(c, returned, "the callback to return")
}
