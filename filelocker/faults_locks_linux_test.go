package filelocker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A kernel that has no room for a lock says so to one process and not to the next. That one does
// not get the upload's lock then, and must not take the file system for one without locks.
func TestNoRoomForAKernelLock(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	c := f.start()
	tracer := c.inject("flock:error=ENOLCK")
	c.tell("here a")
	failed := c.next()
	require.Contains(t, failed, "failed a: ")
	require.Contains(t, failed, "no locks available")
	require.Contains(t, failed, f.dir)
	tracer.detach()
	f.mustHold()
	c.tell("here a")
	c.expect("locked a")
	f.mustBeBusy("a")
	c.unlock("a")
	f.mustHold()
}

// A holder that got no kernel lock holds by its heartbeat. To one who can get the kernel lock of
// its file that is no proof of its death; nor is a clock that was set forward.
func TestHolderWithoutAKernelLock(t *testing.T) {
	for _, order := range []string{"here", "readhere"} {
		t.Run(order, func(t *testing.T) {
			f := setUp(t)
			needStrace(f)
			c := f.start()
			tracer := c.inject("flock:error=ENOSYS")
			c.tell(order + " a")
			c.expect("locked a")
			tracer.detach()
			f.mustBeBusy("a")
			require.Error(t, f.newLock("a").readWithin(150*time.Millisecond), "nobody could see the two readers")
			f.shift("a.lock", -time.Hour)
			f.mustBeBusy("a")
			c.kill()
			f.hold("a").unlock()
			f.mustHold()
		})
	}
}

// A reader that cannot learn whether it is the last one leaves the file to the others.
func TestReaderThatCannotAskWhetherItIsLast(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	c := f.start()
	c.tell("readhere a")
	c.expect("locked a")
	g := f.read("a")
	tracer := c.inject("flock:error=ENOLCK:when=1")
	c.tell("unlock a")
	kept := c.answer("a")
	require.Contains(t, kept, "kept a: ")
	require.Contains(t, kept, f.path("a.lock"))
	tracer.detach()
	f.mustBeBusy("a")
	g.unlock()
	f.mustHold()
}
