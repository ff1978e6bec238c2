package lockertest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// moment is how long a lock has to stay out of reach to count as held. A subtest that fails
// for it fails rightly on any machine; a machine that is slower may miss a failure.
const moment = 50 * time.Millisecond

// check is a subtest under way.
type check struct {
	testing.TB
	f      Factory
	locker handler.Locker
	ctx    context.Context // of every Lock
	peers  []*peer
	upload int

	mu    sync.Mutex
	grips []*grip
}

// begin makes the locker and what belongs to it.
func (f Factory) begin(t testing.TB) *check {
	c := &check{TB: t, f: f, locker: f.New(t)}
	if c.locker == nil {
		t.Fatal("the factory's New has returned nil")
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	t.Cleanup(func() { c.close(cancel) })
	return c
}

// end is the last step of a subtest that has not failed yet: nobody holds or waits any more.
func (c *check) end() {
	for _, p := range c.peers {
		p.end()
	}
	if c.f.Audit != nil {
		c.f.Audit(c, c.locker)
	}
}

// close ends what a failed subtest has left: waiters, holders and processes.
func (c *check) close(cancel func()) {
	cancel()
	for _, p := range c.peers {
		p.kill()
	}
	c.mu.Lock()
	grips := c.grips
	c.mu.Unlock()
	for _, g := range grips {
		if err := receive(c, g.done, "the result of a Lock whose context has ended"); err == nil && !g.given.Load() {
			_ = g.free()
		}
	}
}

// id returns an ID that the subtest has not used yet.
func (c *check) id() string {
	c.upload++
	return fmt.Sprintf("upload%d", c.upload)
}

// roundsLast is how long to repeat something, after the first five rounds.
const roundsLast = 500 * time.Millisecond

// rounds repeats something that fails by chance: n times, unless that would take too long.
func (c *check) rounds(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		end := time.Now().Add(roundsLast)
		for i := range n {
			if i >= 5 && time.Now().After(end) || !yield(i) {
				return
			}
		}
	}
}

// receive waits for a value that has to come.
func receive[T any](c *check, from <-chan T, what string) T {
	c.Helper()
	timer := time.NewTimer(c.f.patience())
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		c.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}

// take takes a lock that has to be free, or to become free.
func (c *check) take(l handler.Locker, id string) *grip {
	c.Helper()
	g := c.grip(l, id)
	g.begin()
	g.mustGet()
	return g
}

// wait begins to take a lock.
func (c *check) wait(l handler.Locker, id string) *grip {
	c.Helper()
	g := c.grip(l, id)
	g.begin()
	return g
}

// mustBeFree requires that a lock can be had, and leaves it free.
func (c *check) mustBeFree(l handler.Locker, id string) {
	c.Helper()
	c.take(l, id).unlock()
}

// mustBeBusy requires that a lock cannot be had. It asks the holder to let go.
func (c *check) mustBeBusy(l handler.Locker, id string) {
	c.Helper()
	c.grip(l, id).mustTimeOut()
}

// settle returns when the lockers had occasion to do what they should not: requests that were
// made after all others, in either direction, have arrived.
func (c *check) settle(a, b handler.Locker) {
	c.Helper()
	for range 3 {
		for _, pair := range [][2]handler.Locker{{a, b}, {b, a}} {
			const id = "settle"
			holder := c.take(pair[0], id)
			waiter := c.wait(pair[1], id)
			holder.mustBeAsked()
			holder.unlock()
			waiter.mustGet()
			waiter.unlock()
		}
	}
}
