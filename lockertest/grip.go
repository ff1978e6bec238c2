package lockertest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// grip is one lock object and what happens to it.
type grip struct {
	c     *check
	id    string
	lock  handler.Lock
	local bool
	reads bool
	then  func() // called by the release callback

	calls atomic.Int32
	asked chan struct{} // gets a value for each call of the release callback
	done  chan error    // gets the result of the last Lock, and keeps it
	given atomic.Bool   // unlocked, or tried to
	freed chan error    // gets the result of Unlock in the callback
}

// grip makes a lock object, which has to be possible.
func (c *check) grip(l handler.Locker, id string) *grip {
	c.Helper()
	lock, err := l.NewLock(id)
	if err != nil {
		c.Fatalf("NewLock(%q): %v", id, err)
	}
	_, remote := l.(*peer)
	return &grip{c: c, id: id, lock: lock, local: !remote, asked: make(chan struct{}, 64)}
}

// reader makes the lock one that readers share.
func (g *grip) reader() *grip {
	g.reads = true
	return g
}

// again makes another grip on the same lock object.
func (g *grip) again() *grip {
	return &grip{c: g.c, id: g.id, lock: g.lock, local: g.local, reads: g.reads, asked: make(chan struct{}, 64)}
}

// begin calls Lock in the background.
func (g *grip) begin() { g.beginUntil(context.Background()) }

// beginUntil also ends the wait with ctx.
func (g *grip) beginUntil(ctx context.Context) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.c.ctx, func() { cancel(context.Cause(g.c.ctx)) })
	g.start(both, func() {
		stop()
		cancel(nil)
	})
}

// beginWith gives Lock the very context ctx, which has to end with the subtest's.
func (g *grip) beginWith(ctx context.Context) { g.start(ctx, func() {}) }

func (g *grip) start(ctx context.Context, after func()) {
	g.done = make(chan error, 1)
	g.c.mu.Lock()
	g.c.grips = append(g.c.grips, g)
	g.c.mu.Unlock()
	go func() {
		err := g.try(ctx)
		after()
		g.done <- err
	}()
}

// try calls Lock. A panic is an error like any other.
func (g *grip) try(ctx context.Context) error {
	if g.reads {
		ctx = g.c.reading(ctx, g.local)
	}
	return safely("Lock", func() error { return g.lock.Lock(ctx, g.release) })
}

func (g *grip) release() {
	g.calls.Add(1)
	select {
	case g.asked <- struct{}{}:
	default: // enough to fail
	}
	if g.then != nil {
		g.then()
	}
}

// await waits for the result of Lock, if there will be one.
func (g *grip) await() (err error, ok bool) {
	ok = g.within(g.c.f.patience())
	if ok {
		err = <-g.done
		g.done <- err
	}
	return err, ok
}

// within says whether Lock has returned before d has passed.
func (g *grip) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-g.done:
		g.done <- err
		return true
	case <-timer.C:
		return false
	}
}

// result waits for the result of Lock, which has to come.
func (g *grip) result() error {
	g.c.Helper()
	err, ok := g.await()
	if !ok {
		g.c.Fatalf("Lock of %q: waited in vain", g.id)
	}
	return err
}

// mustGet waits until the lock is held.
func (g *grip) mustGet() {
	g.c.Helper()
	if err := g.result(); err != nil {
		g.c.Fatalf("Lock of %q: %v", g.id, err)
	}
}

// mustFail waits until Lock has given up.
func (g *grip) mustFail() {
	g.c.Helper()
	if err := wantTimeout(g.id, g.result()); err != nil {
		g.c.Fatal(err)
	}
}

// mustTimeOut requires that the lock cannot be had.
func (g *grip) mustTimeOut() {
	g.c.Helper()
	if err := g.timesOut(); err != nil {
		g.c.Fatal(err)
	}
}

// timesOut fails if the lock can be had. It can be called in any goroutine.
func (g *grip) timesOut() error {
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	g.beginUntil(ctx)
	err, ok := g.await()
	if !ok {
		return fmt.Errorf("Lock of %q: does not return when its context ends", g.id)
	}
	return wantTimeout(g.id, err)
}

func wantTimeout(id string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("Lock of %q: got a lock that could not be had", id)
	case !errors.Is(err, handler.ErrLockTimeout):
		return fmt.Errorf("Lock of %q: got error %q, want handler.ErrLockTimeout", id, err)
	}
	return nil
}

// mustWait requires that Lock has not returned.
func (g *grip) mustWait() {
	g.c.Helper()
	if len(g.done) > 0 {
		g.c.Fatalf("Lock of %q has returned, though it could not be had: %v", g.id, g.result())
	}
}

// unlock lets go, which has to work.
func (g *grip) unlock() {
	g.c.Helper()
	if err := g.free(); err != nil {
		g.c.Fatalf("Unlock of %q: %v", g.id, err)
	}
}

// free calls Unlock. A panic is an error like any other.
func (g *grip) free() error {
	g.given.Store(true)
	return safely("Unlock", g.lock.Unlock)
}

// pass waits until the lock is held, and gives it back. It can be called in any goroutine.
func (g *grip) pass() error {
	err, ok := g.await()
	if !ok {
		return fmt.Errorf("Lock of %q: waited in vain", g.id)
	}
	if err != nil {
		return fmt.Errorf("Lock of %q: %w", g.id, err)
	}
	if err := g.free(); err != nil {
		return fmt.Errorf("Unlock of %q: %w", g.id, err)
	}
	return nil
}

// letGoWhenAsked makes a lock object whose release callback unlocks.
func (c *check) letGoWhenAsked(l handler.Locker, id string) *grip {
	c.Helper()
	g := c.grip(l, id)
	g.freed = make(chan error, 1)
	g.then = sync.OnceFunc(func() {
		err := <-g.done // the callback may come before Lock has returned
		g.done <- err
		g.freed <- g.free()
	})
	return g
}

// mustBeAsked waits for the release callback.
func (g *grip) mustBeAsked() {
	g.c.Helper()
	receive(g.c, g.asked, fmt.Sprintf("the holder of %q to be asked to let go", g.id))
}

// mustBeAskedOnly requires that the release callback was called n times and no more.
func (g *grip) mustBeAskedOnly(n int32, why string) {
	g.c.Helper()
	if calls := g.calls.Load(); calls != n {
		g.c.Fatalf("the release callback of %q was called %d times instead of %d: %s", g.id, calls, n, why)
	}
}

// panicked is the error of a method that panics.
type panicked struct{ text string }

func (p *panicked) Error() string { return p.text }

// safely calls a method of a lock object.
func safely(name string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{fmt.Sprintf("%s panics: %v\n%s", name, p, debug.Stack())}
		}
	}()
	return f()
}

// readsKey marks the context of a reader for [peer].
type readsKey struct{}

func (c *check) reading(ctx context.Context, local bool) context.Context {
	if local {
		return c.f.Reading(ctx)
	}
	return context.WithValue(ctx, readsKey{}, true)
}

// all runs f n times at once and returns the first error.
func (c *check) all(n int, f func(i int) error) {
	c.Helper()
	var group sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		group.Go(func() {
			if err := f(i); err != nil {
				errs <- err
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		c.Fatal(err)
	default:
	}
}
