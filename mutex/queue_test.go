package mutex_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// Waiters of a process come in their order, and those who gave up are left out.
func TestQueue(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	var (
		waiters []<-chan outcome
		cancels []chan struct{}
		clocks  []clock
		order   = make(chan int, 100)
	)
	const n = 100
	for i := range n {
		c, cancel, done := newClock(), make(chan struct{}), make(chan outcome, 1)
		spec := c.spec(name)
		spec.Cancel = cancel
		go func() {
			r, err := mutex.Acquire(spec)
			if err == nil {
				order <- i
				r.Release()
			}
			done <- outcome{nil, err}
		}()
		c.next(t, timeout) // it has its place
		waiters, cancels, clocks = append(waiters, done), append(cancels, cancel), append(clocks, c)
	}
	for i := 0; i < n; i += 3 {
		close(cancels[i])
		require.ErrorIs(t, receive(t, waiters[i], "a waiter").err, mutex.ErrCancelled)
	}
	r.Release()
	for i := range n {
		if i%3 != 0 {
			require.Equal(t, i, receive(t, order, "the next"))
			require.NoError(t, receive(t, waiters[i], "a waiter").err)
		}
		require.Empty(t, clocks[i].timers)
	}
	mustBeFree(t, name)
}

// The turn that comes just as a waiter gives up is not lost.
func TestGivingUpAtTheSameMoment(t *testing.T) {
	name := newName(t)
	for i := range 2000 {
		r := mustAcquire(t, wallSpec(name))
		c, cancel := newClock(), make(chan struct{})
		spec := c.spec(name)
		spec.Cancel = cancel
		second := acquire(spec)
		deadline := c.next(t, timeout)
		third := acquire(c.spec(name))
		c.next(t, timeout)
		go r.Release()
		if i%2 == 0 {
			close(cancel)
		} else {
			deadline.fire()
		}
		if got := receive(t, second, "the second"); got.err == nil {
			got.Release()
		}
		got := receive(t, third, "the third")
		require.NoError(t, got.err)
		got.Release()
		r.Release()
		mustBeFree(t, name)
	}
}

// Goroutines that take turns give the mutex up to all from time to time.
func TestPassing(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	c := newClock()
	const n = mutex.Passes * 5 / 2
	var waiters []<-chan outcome
	for range n {
		waiters = append(waiters, acquire(c.spec(name)))
		c.next(t, timeout)
	}
	holds := map[any]bool{mutex.HoldOf(r): true}
	for _, w := range waiters {
		r.Release()
		got := receive(t, w, "the next")
		require.NoError(t, got.err)
		r = got.Releaser
		holds[mutex.HoldOf(r)] = true
	}
	r.Release()
	require.Len(t, holds, 3)
	mustBeFree(t, name)
}

func TestOneWaitsForTheKernel(t *testing.T) {
	name := newName(t)
	holder := start(t)
	holder.hold(name)
	cancel := make(chan struct{})
	c := newClock()
	spec := c.spec(name)
	spec.Cancel = cancel
	first := acquire(spec)
	c.next(t, timeout)
	c.next(t, delay)
	var others []<-chan outcome
	for range 20 {
		others = append(others, acquire(spec))
		c.next(t, timeout)
	}
	require.Len(t, stacks("mutex.(*place).await"), 1)
	require.Empty(t, c.timers, "only the first polls")
	close(cancel)
	for _, o := range append(others, first) {
		require.ErrorIs(t, receive(t, o, "a waiter").err, mutex.ErrCancelled)
	}
}
