package mutex_test

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/mutex"
)

func TestMain(m *testing.M) {
	childtest.Main(runChild)
	code := leaktest.Main(m)
	for _, name := range []string{holdingExample, cancellingExample} {
		_ = os.Remove(mutex.Path(name))
	}
	os.Exit(code)
}

const (
	holdingExample    = "example-of-a-mutex"
	cancellingExample = "example-of-cancelling"
)

// patience is after what time something that has to happen is taken to hang.
const patience = 30 * time.Second

var names atomic.Int64

// newName returns a name that nobody else on the machine uses, and removes its file later.
func newName(tb testing.TB) string {
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), names.Add(1))
	tb.Cleanup(func() { os.Remove(mutex.Path(name)) })
	return name
}

func receive[T any](tb testing.TB, c <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(tb, "nothing happened", what)
		panic("unreachable")
	}
}

// wall is the clock on the wall.
type wall struct{}

func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (wall) Now() time.Time                         { return time.Now() }

// wallSpec looks often and waits for as long as a test does.
func wallSpec(name string) mutex.Spec {
	return mutex.Spec{Name: name, Clock: wall{}, Delay: 5 * time.Millisecond, Timeout: patience}
}

// clock stands still. A test sees each timer that is started, and makes it fire.
type clock struct{ timers chan timer }

type timer struct {
	after time.Duration
	c     chan time.Time
}

func newClock() clock { return clock{make(chan timer, 1000)} }

func (c clock) After(d time.Duration) <-chan time.Time {
	t := timer{d, make(chan time.Time, 1)}
	c.timers <- t
	return t.c
}

func (c clock) Now() time.Time { return time.Time{} }

// next is the next timer to be started, which must be of this duration.
func (c clock) next(tb testing.TB, d time.Duration) timer {
	tb.Helper()
	t := receive(tb, c.timers, "a timer of "+d.String())
	require.Equal(tb, d, t.after)
	return t
}

func (t timer) fire() { t.c <- time.Time{} }

const (
	delay   = time.Minute
	timeout = time.Hour
)

func (c clock) spec(name string) mutex.Spec {
	return mutex.Spec{Name: name, Clock: c, Delay: delay, Timeout: timeout}
}

type outcome struct {
	mutex.Releaser
	err error
}

// acquire waits for a mutex in a goroutine.
func acquire(spec mutex.Spec) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		r, err := mutex.Acquire(spec)
		done <- outcome{r, err}
	}()
	return done
}

func mustAcquire(tb testing.TB, spec mutex.Spec) mutex.Releaser {
	tb.Helper()
	r, err := mutex.Acquire(spec)
	require.NoError(tb, err)
	return r
}

// mustBeFree acquires it with a timeout that is over at once.
func mustBeFree(tb testing.TB, name string) {
	tb.Helper()
	mustAcquire(tb, impatient(name)).Release()
}

func mustBeBusy(tb testing.TB, name string) {
	tb.Helper()
	_, err := mutex.Acquire(impatient(name))
	require.ErrorIs(tb, err, mutex.ErrTimeout)
}

func impatient(name string) mutex.Spec {
	return mutex.Spec{Name: name, Clock: wall{}, Delay: time.Hour, Timeout: 1}
}

// environment is one for tests.
type environment map[string]string

func (e environment) LookupEnv(key string) (string, bool) { v, ok := e[key]; return v, ok }
func (e environment) Getenv(key string) string            { return e[key] }

// stacks are those of the goroutines that are in a function.
func stacks(function string) (found []string) {
	for _, s := range allStacks() {
		if strings.Contains(s, function) {
			found = append(found, s)
		}
	}
	return found
}
