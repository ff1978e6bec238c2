package filelocker_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

// noticed is a context that says when somebody begins to wait for its end. Lock does that
// once it stands in line.
type noticed struct {
	context.Context
	once    sync.Once
	waiting chan struct{}
}

func notice(ctx context.Context) *noticed {
	return &noticed{Context: ctx, waiting: make(chan struct{})}
}

func (n *noticed) Done() <-chan struct{} {
	n.once.Do(func() { close(n.waiting) })
	return n.Context.Done()
}

// queue starts to wait for a lock and returns when it waits.
func (f *fixture) queue(ctx context.Context, id string) (*grip, <-chan error) {
	f.Helper()
	ctx, cancel := context.WithCancel(ctx)
	f.Cleanup(func() {
		if f.Failed() {
			cancel()
		}
	})
	g, n := f.newLock(id), notice(ctx)
	done := g.takeSoon(n)
	receive(f, n.waiting, "Lock did not begin to wait")
	return g, done
}

func TestWaitersAreServedInOrder(t *testing.T) {
	f := setUp(t)
	const n = 100
	holder := f.hold("a")
	grips, dones := make([]*grip, n), make([]<-chan error, n)
	for i := range n {
		grips[i], dones[i] = f.queue(context.Background(), "a")
	}
	holder.mustBeAsked()
	for i, g := range grips {
		holder.unlock()
		require.NoError(t, receive(f, dones[i], "the lock was not handed over"))
		for later := i + 1; later < n; later++ {
			require.Empty(t, dones[later], "waiter %d must not overtake waiter %d", later, i)
		}
		if i < n-1 {
			g.mustBeAsked() // somebody has been waiting for long
		} else {
			g.mustNotBeAsked()
		}
		holder = g
	}
	holder.unlock()
	f.mustHold()
}

func TestCancelledWaiterLeavesAtOnce(t *testing.T) {
	f := setUp(t)
	holder := f.hold("a")
	first, firstDone := f.queue(context.Background(), "a")
	ctx, cancel := context.WithCancel(context.Background())
	second, secondDone := f.queue(ctx, "a")
	third, thirdDone := f.queue(context.Background(), "a")

	cancel()
	require.Equal(t, handler.ErrLockTimeout, receive(f, secondDone, "a cancelled waiter"))
	require.Empty(t, firstDone)
	require.Empty(t, thirdDone)
	holder.unlock()
	require.NoError(t, receive(f, firstDone, "the first waiter"))
	first.unlock()
	require.NoError(t, receive(f, thirdDone, "the third waiter"))
	third.unlock()
	second.mustNotBeAsked()
	f.mustHold()
}

// tusd's handler compares with these very values.
func TestEndedContext(t *testing.T) {
	f := setUp(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		require.Equal(t, handler.ErrLockTimeout, f.newLock("free").take(ended), "also where the lock is free")
	}
	f.mustHold()

	g := f.hold("a")
	require.Equal(t, handler.ErrLockTimeout, f.newLock("a").take(ended))
	require.Equal(t, handler.ErrLockTimeout, f.newLock("a").takeWithin(20*time.Millisecond))
	cause, stop := context.WithCancelCause(context.Background())
	_, done := f.queue(cause, "a")
	stop(context.DeadlineExceeded)
	require.Equal(t, handler.ErrLockTimeout, receive(f, done, "a cancelled waiter"))
	g.unlock()
	f.mustHold()
}

// A context that ends in the very moment of the hand-over leaves no lock without a holder.
func TestCancellationRacesWithHandOver(t *testing.T) {
	f := setUp(t)
	for range 500 {
		holder := f.hold("a")
		ctx, cancel := context.WithCancel(context.Background())
		waiter, done := f.queue(ctx, "a")
		go cancel()
		holder.unlock()
		if err := receive(f, done, "the waiter"); err == nil {
			waiter.unlock()
		} else {
			require.Equal(t, handler.ErrLockTimeout, err)
		}
		f.hold("a").unlock()
	}
	f.mustHold()
}

// A lock object that holds is no way around its own lock, and can be used again afterwards.
func TestLockObjectIsUsedAgain(t *testing.T) {
	f := setUp(t)
	g := f.newLock("a")
	for range 3 {
		require.NoError(t, g.takeWithin(f.patience()))
		require.Equal(t, handler.ErrLockTimeout, g.takeWithin(20*time.Millisecond), "it is held")
		g.unlock()
		f.mustHold()
	}
}

func TestReleaseCallbackIsCalledOnce(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	f.settle()
	g.mustNotBeAsked()

	other := f.start()
	other.tell("lock a")
	g.mustBeAsked()
	ctx, cancel := context.WithCancel(context.Background())
	_, done := f.queue(ctx, "a")
	f.mustBeBusy("a")
	f.settle()
	cancel()
	require.Equal(t, handler.ErrLockTimeout, receive(f, done, "a cancelled waiter"))
	require.EqualValues(t, 1, g.calls.Load(), "calls of the release callback")
	g.unlock()
	other.expect("locked a")
	other.tell("unlock a")
	other.expect("unlocked a")

	next := f.hold("a")
	f.settle()
	next.mustNotBeAsked()
	next.unlock()
	f.mustHold()
}

// The callback is tusd's code, which may wait for a request body for a long time.
func TestBlockedCallbackHoldsUpNobody(t *testing.T) {
	f := setUp(t)
	lock, err := f.locker.NewLock("a")
	require.NoError(t, err)
	called, goOn, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
	require.NoError(t, lock.Lock(context.Background(), func() {
		defer close(gone)
		close(called)
		<-goOn
	}))
	waiter, done := f.queue(context.Background(), "a")
	receive(f, called, "the release callback was not called")

	f.settle()
	f.hold("b").unlock()
	require.NoError(t, lock.Unlock())
	require.NoError(t, receive(f, done, "the waiter"))
	waiter.unlock()
	close(goOn)
	receive(f, gone, "the release callback")
	f.mustHold()
}

// A nil callback is nobody to ask.
func TestNoCallback(t *testing.T) {
	f := setUp(t)
	lock, err := f.locker.NewLock("a")
	require.NoError(t, err)
	require.NoError(t, lock.Lock(context.Background(), nil))
	f.mustBeBusy("a")
	f.settle()
	require.NoError(t, lock.Unlock())
	f.mustHold()
}

// The callback itself may unlock, also before Lock has returned to its caller.
func TestUnlockFromTheCallback(t *testing.T) {
	f := setUp(t)
	var inside sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if err := lockUntilAsked(f.locker, &inside); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	f.mustHold()
}

// lockUntilAsked holds the lock until somebody wants it, or nobody did for a while.
func lockUntilAsked(locker handler.Locker, inside *sync.Mutex) error {
	lock, err := locker.NewLock("a")
	if err != nil {
		return err
	}
	released := make(chan error, 1)
	release := sync.OnceFunc(func() {
		inside.Unlock()
		released <- lock.Unlock()
	})
	held := make(chan struct{})
	if err := lock.Lock(context.Background(), func() { <-held; release() }); err != nil {
		return err
	}
	if !inside.TryLock() {
		return errors.New("two holders")
	}
	close(held)
	select {
	case err = <-released:
		return err
	case <-time.After(20 * time.Millisecond):
		release()
		return <-released
	}
}
