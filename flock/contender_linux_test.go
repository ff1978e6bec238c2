package flock_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

// giveUp unlocks; what the slow one lost in between is what the test did.
func (c child) giveUp() (lost bool) {
	c.Tell("unlock")
	event := c.Next()
	for strings.HasPrefix(event, "log ") {
		event = c.Next()
	}
	return event == "lost"
}

// quick tries to take the lock beside a slow contender that stands still.
func (s store) quick() flock.UnlockFunc {
	ctx, cancel := context.WithTimeout(bg(), 25*time.Millisecond)
	defer cancel()
	unlock, err := flock.TryLock(ctx, s.root)
	if err != nil {
		s.mustFail(unlock, err)
	}
	return unlock
}

// alone requires that the slow one does not have the lock while the quick one has it.
func (s store) alone(slow child, quick flock.UnlockFunc) {
	s.Helper()
	slow.Thaw()
	if quick == nil {
		return
	}
	select {
	case event := <-slow.Events:
		require.FailNow(s, "two holders of one lock", "this process and the one that says %q", event)
	case <-time.After(15 * time.Millisecond): // long enough to see it fail where it can
	}
	require.NoError(s, quick(), "the quick one has lost the lock")
}

// Wherever a contender stands still, another one does not get the lock as well.
func TestStoppedContender(t *testing.T) {
	eachStep(t, childtest.Stopping, func(s store, slow child, holder flock.UnlockFunc) {
		s.alone(slow, s.quick())
	})
}

// The same while the holder that was believed to be frozen wakes up, refreshes the file as
// its heartbeat does, and unlocks.
func TestStoppedContenderAndWakingHolder(t *testing.T) {
	eachStep(t, childtest.Stopping, func(s store, slow child, holder flock.UnlockFunc) {
		if holder != nil {
			now := time.Now()
			_ = os.Chtimes(s.path(), now, now)
			_ = holder()
		}
		s.alone(slow, s.quick())
	})
}

// A contender that stands still for so long that its own file goes stale, or whose file a
// stranger removes, is overtaken. If it was done with all its checks by then it believes to
// have the lock, and is told the truth when it unlocks.
func TestOvertakenContender(t *testing.T) {
	for name, overtake := range map[string]func(s store) error{
		"stale":   func(s store) error { long := time.Now().Add(-time.Hour); return os.Chtimes(s.path(), long, long) },
		"removed": func(s store) error { return os.Remove(s.path()) },
	} {
		t.Run(name, func(t *testing.T) {
			tardy := make(map[string]int)
			eachStep(t, childtest.Stopping, func(s store, slow child, holder flock.UnlockFunc) {
				if err := overtake(s); !errors.Is(err, os.ErrNotExist) {
					require.NoError(s, err)
				}
				quick := s.quick()
				slow.Thaw()
				if quick == nil {
					return
				}
				select {
				case event := <-slow.Events:
					tardy[s.Name()]++
					require.Equal(s, "locked", event)
					require.True(s, slow.giveUp(), "nobody has told the slow one")
					require.NoError(s, quick())
					slow.Tell("here")
				case <-time.After(15 * time.Millisecond):
					require.NoError(s, quick())
				}
			})
			for scene, n := range tardy {
				t.Log(n, "were told late in", scene)
			}
			require.LessOrEqual(t, tardy[t.Name()+"/fresh"], 1, "its look at the name is the last thing that it does")
		})
	}
}

// A contender stands still before it has refreshed the file, for so long that another one
// finds it stale, which then stands still as well. When the first one goes on it either has
// the lock or the other one does.
func TestTwoStoppedContenders(t *testing.T) {
	childtest.NeedStrace(t)
	s := setUp(t)
	first, second := s.start(), s.start()
	for _, call := range []string{"openat", "flock", "fstat"} {
		steps := 0
		for other := range strings.SplitSeq(fileCalls, ",") {
			for n := 1; ; n++ {
				s.free()
				s.setTime(aging())
				one := first.Inject(childtest.At(call, 1, childtest.Stopping))
				first.Tell("here")
				require.True(t, one.Stopped("locked"))
				s.age()
				two := second.Inject(childtest.At(other, n, childtest.Stopping))
				second.Tell("here")
				stopped := two.Stopped("locked")
				if !stopped {
					two.Detach() // or it would stop the unlocking
				}
				first.Thaw()
				select { // for the moment in which it may take the lock
				case event := <-first.Events:
					require.Equal(t, "locked", event)
					second.Thaw()
					select {
					case event := <-second.Events:
						require.FailNow(t, "two holders of one lock", "the first contender and the one that says %q", event)
					case <-time.After(15 * time.Millisecond):
					}
					require.False(t, first.giveUp())
					if stopped {
						second.Expect("locked")
					}
					second.giveUp()
				case <-time.After(15 * time.Millisecond):
					second.Thaw()
					if stopped {
						second.finish(first)
					} else {
						second.giveUp()
						first.Expect("locked")
						first.giveUp()
					}
				}
				one.Detach()
				two.Detach()
				if !stopped {
					break
				}
				steps++
			}
		}
		t.Log(steps, "steps after", call)
	}
}

// finish has c and the other one take turns in whatever order they get the lock.
func (c child) finish(other child) {
	c.Helper()
	select {
	case event := <-c.Events:
		require.Equal(c, "locked", event)
		c.giveUp()
		other.Expect("locked")
		other.giveUp()
	case event := <-other.Events:
		require.Equal(c, "locked", event)
		require.False(c, other.giveUp(), "its file was fresh")
		c.Expect("locked")
		c.giveUp()
	case <-time.After(childtest.Patience):
		require.FailNow(c, "nobody gets the lock")
	}
}

// Wherever a contender is killed, it leaves nothing that keeps the next one from the lock.
func TestKilledContender(t *testing.T) {
	eachStep(t, childtest.Killing, func(s store, slow child, holder flock.UnlockFunc) {
		slow.Kill()
		ctx, cancel := context.WithTimeout(bg(), flock.StaleAfter/2)
		defer cancel()
		unlock, err := flock.TryLock(ctx, s.root)
		require.NoError(s, err)
		require.NoError(s, unlock())
		require.Equal(s, os.FileMode(0o600), s.stat().Mode())
		if holder != nil {
			require.Error(s, holder())
		}
		s.free()
	})
}
