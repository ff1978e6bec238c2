package lockertest

import (
	"errors"

	"github.com/tus/tusd/v2/pkg/handler"
)

// mustNotPanic calls Unlock on a lock that is not held. Whether that is an error is up to the
// locker.
func (g *grip) mustNotPanic() error {
	g.c.Helper()
	err := g.free()
	var p *panicked
	if errors.As(err, &p) {
		g.c.Fatal(p)
	}
	return err
}

// relockWhileHeld: the lock object that holds is no way around its own lock.
func relockWhileHeld(c *check) {
	id := c.id()
	g := c.take(c.locker, id)
	g.again().mustTimeOut()
	c.mustBeBusy(c.locker, id)
	g.unlock()
	c.mustBeFree(c.locker, id)
}

// relockAfterUnlock: a lock object can be used again, and is as good as a new one.
func relockAfterUnlock(c *check) {
	id := c.id()
	g := c.take(c.locker, id)
	for range 3 {
		g.unlock()
		g = g.again()
		g.begin()
		g.mustGet()
		waiter := c.wait(c.locker, id)
		g.mustBeAsked()
		g.mustBeAskedOnly(1, "by this hold's waiter")
		g.unlock()
		waiter.mustGet()
		waiter.unlock()
		g = g.again()
		g.begin()
		g.mustGet()
	}
	g.unlock()
	c.mustBeFree(c.locker, id)
}

// secondUnlock: it does not panic, and breaks nothing.
func secondUnlock(c *check) {
	id := c.id()
	g := c.take(c.locker, id)
	g.unlock()
	_ = g.mustNotPanic()
	c.mustBeFree(c.locker, id)
	_ = g.mustNotPanic()
	c.mustBeFree(c.locker, id)
}

// secondUnlockTakesNothing: it does not free the lock of the next holder.
func secondUnlockTakesNothing(c *check, a, b handler.Locker) {
	id := c.id()
	first := c.take(a, id)
	first.unlock()
	second := c.take(b, id)
	_ = first.free()
	c.mustBeBusy(a, id)
	c.mustBeBusy(b, id)
	second.unlock()
	c.mustBeFree(a, id)
}

// unlockNeverLocked: Unlock of a new lock object does not panic, and breaks nothing.
func unlockNeverLocked(c *check) {
	id := c.id()
	for range 2 {
		_ = c.grip(c.locker, id).mustNotPanic()
		c.mustBeFree(c.locker, id)
	}
}

// foreignUnlock: a lock object that does not hold cannot free what another holds.
func foreignUnlock(c *check, a, b handler.Locker) {
	id := c.id()
	holder := c.take(a, id)
	_ = c.grip(b, id).free()
	c.mustBeBusy(b, id)
	_ = c.grip(a, id).free()
	c.mustBeBusy(a, id)
	holder.unlock()
	c.mustBeFree(b, id)
}

// unlockAfterTimeout: nor can one whose Lock has failed.
func unlockAfterTimeout(c *check, a, b handler.Locker) {
	id := c.id()
	holder := c.take(a, id)
	quitter := c.grip(b, id)
	quitter.mustTimeOut()
	_ = quitter.free()
	c.mustBeBusy(b, id)
	c.mustBeBusy(a, id)
	holder.unlock()
	c.mustBeFree(b, id)
}

// strictUnlock: Unlock of what is not held is an error.
func strictUnlock(c *check) {
	id := c.id()
	refuse := func(g *grip, why string) {
		c.Helper()
		if g.mustNotPanic() == nil {
			c.Errorf("Unlock returned no error, though %s", why)
		}
	}
	refuse(c.grip(c.locker, id), "the lock was never taken")
	g := c.take(c.locker, id)
	refuse(c.grip(c.locker, id), "another lock object holds")
	quitter := c.grip(c.locker, id)
	quitter.mustTimeOut()
	refuse(quitter, "its Lock has failed")
	g.unlock()
	refuse(g, "it was unlocked before")
	c.mustBeFree(c.locker, id)
}
