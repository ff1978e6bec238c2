package filelocker_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fleet is upgraded process by process: tusd with its own locker and with this one work on
// one directory.
func setUpMixed(t *testing.T) *fixture {
	if underTest() != ours {
		t.Skip("one of the two kinds is ours")
	}
	return setUp(t)
}

// asStock has the helper process use the stock locker, with short intervals.
func asStock(_ *exec.Cmd, spec *childSpec) {
	spec.Kind, spec.Set = stock, settings{Holder: 5 * time.Millisecond, Acquirer: 5 * time.Millisecond}
}

func TestStockHolder(t *testing.T) {
	f := setUpMixed(t)
	holder := f.start(asStock)
	for range 5 {
		holder.tell("lock a")
		holder.expect("locked a")
		f.mustBeBusy("a")
		holder.expect("asked a")
		f.mustHold("a.lock")
		holder.tell("unlock a")
		holder.expect("unlocked a")

		holder.tell("yield a")
		holder.expect("locked a")
		g := f.hold("a")
		holder.expect("asked a", "unlocked a")
		g.mustNotBeAsked()
		g.unlock()
		f.mustHold()
	}
}

func TestStockWaiter(t *testing.T) {
	f := setUpMixed(t)
	waiter := f.start(asStock)
	for range 5 {
		g := f.hold("a")
		waiter.tell("lock a")
		g.mustBeAsked()
		g.unlock()
		waiter.expect("locked a")
		waiter.unlock("a")
		f.mustHold()
	}
}

func TestStockHolderIsKilled(t *testing.T) {
	f := setUpMixed(t)
	f.set.Acquirer = 5 * time.Millisecond // the kernel reports nothing: it has no lock
	f = setUpIn(t, f.kind, f.dir, f.set)
	for range 3 {
		holder := f.start(asStock)
		holder.tell("lock a")
		holder.expect("locked a")
		g, done := f.queue(context.Background(), "a")
		holder.expect("asked a")
		holder.kill()
		require.NoError(t, receive(f, done, "the lock of a killed stock process"))
		f.settle()
		g.mustNotBeAsked()
		g.unlock()
		f.mustHold()
	}
}

func TestStockWaitsForAKilledHolder(t *testing.T) {
	f := setUpMixed(t)
	waiter := f.start(asStock)
	for range 3 {
		holder := f.start()
		holder.tell("lock a")
		holder.expect("locked a")
		waiter.tell("lock a")
		holder.expect("asked a")
		holder.kill()
		waiter.expect("locked a")
		f.mustBeBusy("a")
		waiter.unlock("a")
		f.mustHold()
	}
}

// A stock locker in this very process has this process's PID in its file.
func TestStockInTheSameProcess(t *testing.T) {
	f := setUpMixed(t)
	old := setUpIn(t, stock, f.dir, settings{Holder: 5 * time.Millisecond, Acquirer: 5 * time.Millisecond})
	g := old.hold("a")
	content, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(os.Getpid())+"\n", string(content))
	f.mustBeBusy("a")
	g.mustBeAsked()
	g.unlock()
	own := f.hold("a")
	old.mustBeBusy("a")
	own.mustBeAsked()
	own.unlock()
	old.hold("a").unlock()
	f.mustHold()
}

// Both kinds at once, without kills: what stock does with dead locks is its own affair.
func TestExclusionAmongBothKinds(t *testing.T) {
	f := setUpMixed(t)
	const each = 40
	told := make(map[string]bool)
	children := []*child{
		f.start(recording(each), asStock), f.start(recording(each)),
		f.start(recording(each), asStock), f.start(recording(each)),
	}
	for _, c := range children {
		for range each {
			told[c.next()] = true
		}
		c.end()
	}
	require.Len(t, told, each*len(children))
	checkRecords(f, told, 0)
	f.hold("recorded").unlock()
	f.mustHold(recordName)
}
