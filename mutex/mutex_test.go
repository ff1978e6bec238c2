package mutex_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/mutex"
)

func TestSpec(t *testing.T) {
	good := func() mutex.Spec { return mutex.Spec{Name: newName(t), Clock: wall{}, Delay: 1} }
	long := newName(t)
	long += strings.Repeat("-", 40-len(long))
	for _, test := range []struct {
		what   string
		change func(*mutex.Spec)
		err    string
	}{
		{"no name", func(s *mutex.Spec) { s.Name = "" }, "mutex: no name"},
		{"too long", func(s *mutex.Spec) { s.Name = long + "1" }, `mutex: name "` + long + `1" is longer than 40 characters`},
		{"a digit first", func(s *mutex.Spec) { s.Name = "1a" }, `mutex: name "1a" does not start with a letter`},
		{"a dash first", func(s *mutex.Spec) { s.Name = "-" }, `mutex: name "-" does not start with a letter`},
		{"a slash", func(s *mutex.Spec) { s.Name = "a/../b" }, `mutex: name "a/../b" has a character other than letters, digits and dashes`},
		{"a NUL", func(s *mutex.Spec) { s.Name = "a\x00" }, `mutex: name "a\x00" has a character other than letters, digits and dashes`},
		{"a bracket", func(s *mutex.Spec) { s.Name = "a[" }, `mutex: name "a[" has a character other than letters, digits and dashes`},
		{"an umlaut", func(s *mutex.Spec) { s.Name = "aä" }, `mutex: name "aä" has a character other than letters, digits and dashes`},
		{"no clock", func(s *mutex.Spec) { s.Clock = nil }, "mutex: no clock"},
		{"no delay", func(s *mutex.Spec) { s.Delay = 0 }, "mutex: delay 0s is not positive"},
		{"a negative delay", func(s *mutex.Spec) { s.Delay = -time.Second }, "mutex: delay -1s is not positive"},
		{"a negative timeout", func(s *mutex.Spec) { s.Timeout = -1 }, "mutex: timeout -1ns is negative"},
	} {
		t.Run(test.what, func(t *testing.T) {
			spec := good()
			test.change(&spec)
			_, err := mutex.Acquire(spec)
			require.EqualError(t, err, test.err)
		})
	}
	for _, name := range []string{long, "Z", "a-", "q9"} {
		spec := good()
		spec.Name = name
		r, err := mutex.Acquire(spec)
		require.NoError(t, err)
		r.Release()
		_ = os.Remove(mutex.Path(name))
	}
}

func TestFreeWhateverTheTimeout(t *testing.T) {
	name := newName(t)
	for range 100 {
		mustBeFree(t, name)
	}
}

func TestTimeoutInProcess(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	c := newClock()
	second := acquire(c.spec(name))
	c.next(t, timeout).fire()
	require.ErrorIs(t, receive(t, second, "the second").err, mutex.ErrTimeout)
	require.Empty(t, c.timers, "nobody polls within a process")
	mustBeBusy(t, name)
	r.Release()
	mustBeFree(t, name)
}

func TestNoTimeoutIsForEver(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	c := newClock()
	spec := c.spec(name)
	spec.Timeout = 0
	second := acquire(spec)
	eventually(t, func() bool { return len(stacks("mutex.(*limit).queue")) == 1 }, "the second is in the queue")
	require.Empty(t, c.timers)
	r.Release()
	got := receive(t, second, "the second")
	require.NoError(t, got.err)
	got.Release()
}

func TestTimeoutBetweenProcesses(t *testing.T) {
	name := newName(t)
	holder := start(t)
	holder.hold(name)
	c := newClock()
	second := acquire(c.spec(name))
	deadline := c.next(t, timeout)
	c.next(t, delay).fire()
	c.next(t, delay) // it looked, and waits again
	deadline.fire()
	require.ErrorIs(t, receive(t, second, "the second").err, mutex.ErrTimeout)
	holder.release(name)
	mustBeFree(t, name)
}

func TestCancel(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	signalled := make(chan struct{}, 1)
	signalled <- struct{}{}
	for what, cancel := range map[string]chan struct{}{"closed": closed, "signalled": signalled} {
		t.Run("before, "+what, func(t *testing.T) {
			spec := wallSpec(newName(t))
			spec.Cancel = cancel
			_, err := mutex.Acquire(spec)
			require.ErrorIs(t, err, mutex.ErrCancelled)
			mustBeFree(t, spec.Name)
		})
	}

	t.Run("in the queue", func(t *testing.T) {
		c, cancel := newClock(), make(chan struct{})
		spec := c.spec(newName(t))
		spec.Cancel = cancel
		r := mustAcquire(t, wallSpec(spec.Name))
		second := acquire(spec)
		c.next(t, timeout)
		close(cancel)
		require.ErrorIs(t, receive(t, second, "the second").err, mutex.ErrCancelled)
		r.Release()
		mustBeFree(t, spec.Name)
	})

	t.Run("waiting for another process", func(t *testing.T) {
		c, cancel := newClock(), make(chan struct{})
		spec := c.spec(newName(t))
		spec.Cancel = cancel
		holder := start(t)
		holder.hold(spec.Name)
		second := acquire(spec)
		c.next(t, timeout)
		c.next(t, delay)
		cancel <- struct{}{}
		require.ErrorIs(t, receive(t, second, "the second").err, mutex.ErrCancelled)
		holder.release(spec.Name)
		mustBeFree(t, spec.Name)
	})
}

func TestReleaseIsIdempotent(t *testing.T) {
	name := newName(t)
	r := mustAcquire(t, wallSpec(name))
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			r.Release()
			mustBeFreeSoon(t, name)
		})
	}
	all.Wait()
	next := mustAcquire(t, wallSpec(name))
	r.Release()
	mustBeBusy(t, name) // the old one's Release is not the new one's
	next.Release()
	mustBeFree(t, name)
}

func mustBeFreeSoon(t *testing.T, name string) {
	r, err := mutex.Acquire(wallSpec(name))
	if err != nil {
		t.Error(err)
		return
	}
	r.Release()
}

func TestNamesAreApart(t *testing.T) {
	a, b := newName(t), newName(t)
	ra := mustAcquire(t, wallSpec(a))
	mustBeFree(t, b)
	ra.Release()
}

func TestManyGoroutines(t *testing.T) {
	leaktest.Check(t)
	name := newName(t)
	var (
		all sync.WaitGroup
		n   int // guarded by the mutex; the race detector watches
	)
	for range 20 {
		all.Go(func() {
			for range 100 {
				r, err := mutex.Acquire(wallSpec(name))
				if err != nil {
					t.Error(err)
					return
				}
				n++
				r.Release()
			}
		})
	}
	all.Wait()
	require.Equal(t, 2000, n)
	mustBeFree(t, name)
}

func TestManyProcesses(t *testing.T) {
	mustCount(t, newName(t), "never", start(t), start(t), start(t))
}

func TestDeathFreesTheMutex(t *testing.T) {
	name := newName(t)
	holder := start(t)
	holder.hold(name)
	mustBeBusy(t, name)
	waiter := acquire(wallSpec(name))
	holder.Kill()
	got := receive(t, waiter, "the heir")
	require.NoError(t, got.err)
	got.Release()
	mustBeFree(t, name)
}
