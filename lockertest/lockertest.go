// Package lockertest checks an implementation of tusd's [handler.Locker]: whether it keeps
// uploads apart, asks holders to let go, and leaves nothing behind, in one process and among
// several.
//
//	func TestLocker(t *testing.T) {
//		lockertest.Run(t, lockertest.Factory{
//			New: func(t testing.TB) handler.Locker { return mylocker.New(t.TempDir()) },
//		})
//	}
//
// # What is checked
//
// Every locker owes this much: one holder per upload at any time; who waits gets the lock when
// the holder lets go; the release callback is called for whoever wants the lock, once per hold
// at most, and for no other reason; a Lock whose context ends returns [handler.ErrLockTimeout],
// holds nothing and asks nobody any more; only the holder can unlock, and nothing that is done
// with a lock object panics; IDs, which come from clients, are refused or kept apart; and a
// release callback that blocks holds up nobody else.
//
// What more a locker can promise is a [Capability], or comes with a function in the
// [Factory]. Subtests for what a locker does not promise are skipped, and say its name.
//
// # Other processes
//
// The subtests under Processes need [Factory.Command], which starts a process that calls
// [Serve]. In a Go test that is the test binary itself:
//
//	func TestMain(m *testing.M) {
//		if dir := os.Getenv("LOCKER_TEST_DIR"); dir != "" {
//			if err := lockertest.Serve(mylocker.New(dir), nil); err != nil {
//				log.Fatal(err)
//			}
//			return
//		}
//		os.Exit(m.Run())
//	}
//
// # Failures that are known
//
// A locker that fails a subtest can be run nevertheless: [Factory.Known] lists the failures
// with their reasons. A failure that is not on the list fails the test, and so does one on the
// list that does not happen any more.
//
// A subtest that panics or hangs fails like any other, unless it is the locker's own goroutine
// that panics.
package lockertest

import (
	"context"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// A Capability is something that a locker may promise and need not.
type Capability string

// The capabilities that [Factory.Claims] can name.
const (
	// InOrder: the waiters of one process get the lock in the order in which they came. A
	// waiter has come when its Lock calls the Done method of its context for the first time.
	InOrder Capability = "InOrder"

	// Idle: a held lock costs no goroutine, and at most 8 KiB of memory.
	Idle Capability = "Idle"

	// Crash: the lock of a process that was killed becomes free within [Factory.Patience].
	Crash Capability = "Crash"

	// Pause: a process that was stopped keeps its locks, for as long as it is stopped. Locks
	// that expire cannot promise that.
	Pause Capability = "Pause"

	// StrictUnlock: Unlock returns an error if the lock is not held.
	StrictUnlock Capability = "StrictUnlock"
)

var claimable = []Capability{InOrder, Idle, Crash, Pause, StrictUnlock}

// DefaultPatience is used where [Factory.Patience] is not set.
const DefaultPatience = 30 * time.Second

// Factory describes the locker that [Run] checks. Only New is required.
type Factory struct {
	// New returns a locker that shares no lock with those of earlier calls. It is called once
	// per subtest. Cleanup functions that it registers run after the last use of the locker,
	// and errors that they report fail the subtest.
	New func(t testing.TB) handler.Locker

	// Claims names what the locker promises beyond what every locker owes.
	Claims []Capability

	// Command returns a process, not started yet, that calls [Serve] with a locker over the
	// same locks as l, which New has returned. Its standard input and output are left to Run.
	// If it runs through a wrapper, killing and stopping the wrapper must do so to the process.
	Command func(t testing.TB, l handler.Locker) *exec.Cmd

	// Reading returns a context, with the deadline and the end of ctx, under which Lock takes
	// a lock that those who only read can share.
	Reading func(ctx context.Context) context.Context

	// Audit reports errors if l, which New has returned, has left traces of anything but the
	// locks of the IDs that are held: all traces of these must be where they belong. It is
	// called when nobody waits; with no IDs at the end of every subtest, and with one while
	// a hostile ID is held.
	Audit func(t testing.TB, l handler.Locker, held ...string)

	// Patience is how long to wait for what has to happen; zero means [DefaultPatience]. It
	// only ends subtests that fail, but must cover the slowest poll of the locker. A subtest
	// that takes ten times as long hangs. Subtests listed in Known have a fifth of it.
	Patience time.Duration

	// Known lists the subtests that the locker fails, each with the reason, by their names
	// below the test that calls Run, such as "Processes/HandOver".
	Known map[string]string

	// Sometimes lists the subtests that the locker fails by chance, likewise.
	Sometimes map[string]string
}

// Run checks the locker that f describes, in subtests of t. They run one after the other; the
// test itself may run in parallel with others.
func Run(t *testing.T, f Factory) {
	t.Helper()
	all := subtests()
	if err := f.validate(all); err != nil {
		t.Fatalf("lockertest: %v", err)
	}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			f.judge(s, f.try(t, s)).report(t)
		})
	}
}

func (f Factory) patience() time.Duration {
	if f.Patience == 0 {
		return DefaultPatience
	}
	return f.Patience
}

func (f Factory) claims(c Capability) bool { return slices.Contains(f.Claims, c) }
