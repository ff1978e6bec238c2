package lockertest

import (
	"errors"

	"github.com/tus/tusd/v2/pkg/handler"
)

// crash: who waits for a process that is killed gets the lock.
func crash(c *check) {
	heir := c.start()
	for i := range 4 {
		id := c.id()
		l := []handler.Locker{c.locker, heir}[i%2]
		victim := c.start()
		holder := c.take(victim, id)
		waiter := c.wait(l, id)
		holder.mustBeAsked()
		waiter.mustWait()
		victim.kill()
		waiter.mustGet()
		c.mustBeBusy(c.locker, id)
		c.mustBeBusy(heir, id)
		waiter.unlock()
		c.mustBeFree(heir, id)
	}
}

// crashUnwaited: the lock of a process that was killed can be taken later, too.
func crashUnwaited(c *check) {
	heir, victim := c.start(), c.start()
	first, second := c.id(), c.id()
	c.take(victim, first)
	c.take(victim, second)
	victim.kill()
	x := c.take(c.locker, first)
	c.mustBeBusy(heir, first)
	y := c.take(heir, second)
	c.mustBeBusy(c.locker, second)
	x.unlock()
	y.unlock()
	c.mustBeFree(heir, first)
	c.mustBeFree(c.locker, second)
}

// crashRequest: the request that the dead holder has not answered does not stop the heir, who
// made it.
func crashRequest(c *check) {
	other := c.start()
	for _, l := range []handler.Locker{c.locker, other} {
		id := c.id()
		victim := c.start()
		holder := c.take(victim, id)
		heir := c.wait(l, id)
		holder.mustBeAsked()
		victim.kill()
		heir.mustGet()
		c.settle(c.locker, other)
		heir.mustBeAskedOnly(0, "nobody but itself has asked")
		heir.unlock()
		c.mustBeFree(c.locker, id)
	}
}

// crashHeirs: of all who wait for a process that is killed, one has the lock at a time.
func crashHeirs(c *check) {
	p, q := c.start(), c.start()
	id := c.id()
	inside := c.witness(id)
	for range c.rounds(10) {
		victim := c.start()
		holder := c.take(victim, id)
		lockers := []handler.Locker{c.locker, p, q}
		results := make(chan error, 12)
		for i := range cap(results) {
			go func() { results <- c.cycle(lockers[i%len(lockers)], id, inside) }()
		}
		holder.mustBeAsked()
		victim.kill()
		for range cap(results) {
			if err := receive(c, results, "an heir"); err != nil {
				c.Fatal(err)
			}
		}
	}
	c.mustBeFree(c.locker, id)
}

// killedWaiter: a process that is killed while it waits interrupts nobody any more, and is in
// nobody's way.
func killedWaiter(c *check) {
	other := c.start()
	for _, l := range []handler.Locker{c.locker, other} {
		id := c.id()
		victim := c.start()
		holder := c.take(l, id)
		c.wait(victim, id)
		holder.mustBeAsked()
		victim.kill()
		holder.unlock()
		next := c.take(l, id)
		c.settle(c.locker, other)
		next.mustBeAskedOnly(0, "who had asked for the lock is dead")
		waiter := c.wait(other, id)
		next.mustBeAsked()
		next.unlock()
		waiter.mustGet()
		waiter.unlock()
		c.mustBeFree(c.locker, id)
	}
}

// restart: a process that comes after another gets its locks, whether that was killed or has
// just ended.
func restart(c *check) {
	id := c.id()
	for i := range 6 {
		p := c.start()
		c.take(p, id)
		c.mustBeBusy(c.locker, id)
		if i%2 == 0 {
			p.kill()
		} else {
			p.end()
		}
	}
	p := c.start()
	g := c.take(p, id)
	c.settle(c.locker, p)
	c.mustBeBusy(c.locker, id)
	g.unlock()
	c.mustBeFree(c.locker, id)
}

// pause: a process that is stopped keeps its lock, and hears of the request when it goes on.
// One that is stopped while it waits is served then.
func pause(c *check) {
	p, q := c.start(), c.start()
	id := c.id()
	holder := c.take(p, id)
	resume := c.stop(p)
	for range 3 {
		c.mustBeBusy(c.locker, id)
		c.mustBeBusy(q, id)
	}
	waiter := c.wait(q, id)
	c.mustBeBusy(c.locker, id)
	waiter.mustWait()
	resume()
	holder.mustBeAsked()
	waiter.mustWait()
	holder.unlock()
	waiter.mustGet()

	stopped := c.wait(p, id)
	waiter.mustBeAsked()
	resume = c.stop(p)
	waiter.unlock()
	resume()
	stopped.mustGet()
	c.mustBeBusy(c.locker, id)
	stopped.unlock()
	c.mustBeFree(c.locker, id)
}

// stop stops a process until the function that it returns is called.
func (c *check) stop(p *peer) (resume func()) {
	c.Helper()
	must := func(err error) {
		c.Helper()
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			c.Skip("processes cannot be stopped on this system")
		case err != nil:
			c.Fatal(err)
		}
	}
	must(p.pause())
	return func() { must(p.resume()) }
}
