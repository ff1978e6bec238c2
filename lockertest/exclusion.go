package lockertest

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"
)

// cycle takes a lock, does something, and gives it back. It can be called in any goroutine.
func (c *check) cycle(l handler.Locker, id string, inside func() error) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.f.patience())
	defer cancel()
	lock, err := l.NewLock(id)
	if err != nil {
		return fmt.Errorf("NewLock(%q): %w", id, err)
	}
	if err := safely("Lock", func() error { return lock.Lock(ctx, func() {}) }); err != nil {
		return fmt.Errorf("Lock of %q: %w", id, err)
	}
	err = inside()
	if uerr := safely("Unlock", lock.Unlock); err == nil && uerr != nil {
		err = fmt.Errorf("Unlock of %q: %w", id, uerr)
	}
	return err
}

// witness returns a function that fails if it runs twice at once.
func (c *check) witness(id string) func() error {
	var inside sync.Mutex
	return func() error {
		if !inside.TryLock() {
			return fmt.Errorf("%q has two holders", id)
		}
		for range 10 {
			runtime.Gosched()
		}
		inside.Unlock()
		return nil
	}
}

// exclusion: an upload has one holder, and others hold theirs at the same time.
func exclusion(c *check, a, b handler.Locker) {
	first, second := c.id(), c.id()
	x := c.take(a, first)
	c.mustBeBusy(b, first)
	y := c.take(b, second)
	c.mustBeBusy(a, first)
	c.mustBeBusy(a, second)
	x.unlock()
	c.mustBeBusy(a, second)
	y.unlock()

	ids := []string{first, second, c.id()}
	inside := make([]func() error, len(ids))
	for i, id := range ids {
		inside[i] = c.witness(id)
	}
	c.all(8, func(g int) error {
		l := []handler.Locker{a, b}[g%2]
		for i := range c.rounds(30) {
			n := (g + i) % len(ids)
			if err := c.cycle(l, ids[n], inside[n]); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range ids {
		c.mustBeFree(a, id)
		c.mustBeFree(b, id)
	}
}

// handOver: who waits gets the lock when the holder lets go, and the holder is asked to.
func handOver(c *check, a, b handler.Locker) {
	id := c.id()
	for range 3 {
		holder := c.take(a, id)
		waiter := c.wait(b, id)
		holder.mustBeAsked()
		waiter.mustWait()
		holder.unlock()
		waiter.mustGet()
		c.mustBeBusy(a, id)
		waiter.unlock()
		c.mustBeFree(b, id)
	}
}

// waitersServed: no waiter is forgotten.
func waitersServed(c *check, a, b handler.Locker) {
	const n = 8
	id := c.id()
	inside := c.witness(id)
	for range c.rounds(20) {
		holder := c.take(a, id)
		results := make(chan error, n)
		for i := range n {
			l := []handler.Locker{b, a}[i%2]
			go func() { results <- c.cycle(l, id, inside) }()
		}
		holder.mustBeAsked()
		holder.unlock()
		for range n {
			if err := receive(c, results, "a waiter"); err != nil {
				c.Fatalf("a waiter was not served: %v", err)
			}
		}
	}
	c.mustBeFree(a, id)
}

// noticed is a context that says when its Done is called for the first time.
type noticed struct {
	context.Context
	once    sync.Once
	waiting chan struct{}
}

func (n *noticed) Done() <-chan struct{} {
	n.once.Do(func() { close(n.waiting) })
	return n.Context.Done()
}

// inOrder: first come, first served.
func inOrder(c *check) {
	id := c.id()
	holder := c.take(c.locker, id)
	var waiters []*grip
	for range 20 {
		// Lock has to see this context itself: one that is derived from it would call Done.
		w := c.grip(c.locker, id)
		ctx := &noticed{Context: c.ctx, waiting: make(chan struct{})}
		w.beginWith(ctx)
		receive(c, ctx.waiting, "Lock to wait for the end of its context")
		waiters = append(waiters, w)
	}
	for i, next := range waiters {
		holder.unlock()
		next.within(c.f.patience())
		for n, later := range waiters[i+1:] {
			if len(later.done) > 0 {
				c.Fatalf("waiter %d has overtaken waiter %d", i+1+n, i)
			}
		}
		next.mustGet()
		holder = next
	}
	holder.unlock()
	c.mustBeFree(c.locker, id)
}
