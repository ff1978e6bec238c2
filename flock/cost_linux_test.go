package flock_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/flock"
)

// ownClock tells whether the lock file is on a file system of this machine's own.
func (s store) ownClock() bool {
	return unix.Major(uint64(s.stat().Sys().(*syscall.Stat_t).Dev)) != 0
}

// Many short holds in a row do not write to the disk each time, and the heartbeat counts
// from the time that the file has.
func TestFreshFile(t *testing.T) {
	for name, lock := range map[string]func(store) flock.UnlockFunc{
		"exclusive": func(s store) flock.UnlockFunc { return s.lock(bg()) },
		"shared":    func(s store) flock.UnlockFunc { return s.rlock(bg()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setUp(t)
				s.free()
				const age = 400 * time.Millisecond
				then := time.Now().Add(-age)
				s.setTime(then)
				unlock := lock(s)
				if !s.ownClock() { // then nobody knows what a young file is
					require.NotEqual(t, then.Unix(), s.stat().ModTime().Unix())
					s.setTime(then)
					time.Sleep(age)
				}
				time.Sleep(flock.HeartbeatInterval - age - time.Nanosecond)
				synctest.Wait()
				require.Equal(t, then.UnixNano(), s.stat().ModTime().UnixNano())
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				require.NotEqual(t, then.Unix(), s.stat().ModTime().Unix())
				require.NoError(t, unlock())
			})
		})
	}
}

// descriptors counts the open ones. The garbage collector would close those that leak, so it
// has to be off.
func (s store) descriptors() int {
	s.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(s, err)
	return len(entries)
}

// A lock that is held costs no goroutine and one descriptor.
func TestHeldLocks(t *testing.T) {
	s := setUp(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	s.free()
	goroutines, open := runtime.NumGoroutine(), s.descriptors()
	const n = 20
	for range n {
		defer s.rlock(bg())()
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
	require.Equal(t, open+n, s.descriptors())
}

// The file of a frozen holder that is removed does not stay open here, nor does any that was
// tried in vain.
func TestRecoveryClosesFiles(t *testing.T) {
	s := setUp(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	frozen := s.lock(bg())
	open := s.descriptors()
	s.held()
	s.age()
	s.held()
	require.Equal(t, open, s.descriptors())
	unlock := s.lock(bg())
	require.Equal(t, open+1, s.descriptors())
	require.NoError(t, unlock())
	require.Error(t, frozen())
	require.Equal(t, open-1, s.descriptors())
}
