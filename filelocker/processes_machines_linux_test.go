package filelocker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

// machines is two views of one directory that see nothing of each other's kernel locks, as
// two machines see a file server's.
func machines(t *testing.T) (one, two string) {
	t.Helper()
	base := t.TempDir()
	source := filepath.Join(base, "source")
	require.NoError(t, os.Mkdir(source, 0o700))
	one, two = filepath.Join(base, "one"), filepath.Join(base, "two")
	for _, dir := range []string{one, two} {
		mount(t, dir, "bindfs", source, dir)
	}
	return one, two
}

// On a file server, a lock of another boot may be another machine's: it counts until its
// heartbeat has stopped for 30 seconds. No boot ID at all is not everybody's.
func TestAnotherBootOnAFileServer(t *testing.T) {
	for name, boot := range map[string]string{"another": otherBoot + "\n", "none": ""} {
		t.Run(name, func(t *testing.T) {
			one, two := machines(t)
			f := setUpIn(t, underTest(), one, quick)
			other := f.start(ofBoot(f, boot), at(two))
			judge := f.start(ofBoot(f, boot)) // of that boot, too, but on this side
			lives := func() {
				t.Helper()
				f.mustBeBusy("a")
				if boot == "" {
					judge.mustWait("a")
				}
			}
			other.tell("lock a")
			other.expect("locked a")
			lives()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, done := f.queue(ctx, "a") // until the holder has seen it
			other.expect("asked a")
			cancel()
			require.Equal(t, handler.ErrLockTimeout, receive(f, done, "the end of the wait"))
			other.kill()
			for _, silent := range []time.Duration{0, 25 * time.Second} {
				f.age("a.lock", silent)
				lives()
			}
			f.age("a.lock", 31*time.Second)
			f.hold("a").unlock()
			f.mustBecomeEmpty()
		})
	}
}

// On a file server, a machine that stands still for more than 30 seconds loses its locks to
// others. It is told when it goes on, and lets its successor's file be.
func TestMachineThatStandsStill(t *testing.T) {
	one, two := machines(t)
	f := setUpIn(t, underTest(), one, quick)
	other := f.start(ofBoot(f, otherBoot+"\n"), at(two))
	other.tell("lock a")
	other.expect("locked a")
	other.freeze()
	for _, silent := range []time.Duration{0, 25 * time.Second} {
		f.age("a.lock", silent)
		f.mustBeBusy("a")
	}
	f.age("a.lock", 31*time.Second)
	g := f.hold("a")
	mine, err := os.ReadFile(f.path("a.lock"))
	require.NoError(t, err)
	other.thaw()
	other.expect("asked a")
	other.tell("unlock a")
	require.Contains(t, other.next(), "kept a: ")
	f.mustContain("a.lock", string(mine))
	g.unlock()
	f.mustBecomeEmpty()
}

// A machine that goes on in time makes up for the beats that it has missed. A holder that was asked to
// let go, and has not done so yet, goes on beating.
func TestHeartbeat(t *testing.T) {
	t.Parallel() // there is one every ten seconds
	for _, asked := range []bool{false, true} {
		t.Run(fmt.Sprintf("asked=%v", asked), func(t *testing.T) {
			t.Parallel()
			one, two := machines(t)
			f := setUpIn(t, underTest(), one, quick)
			other := f.start(ofBoot(f, otherBoot+"\n"), at(two))
			other.tell("lock a")
			other.expect("locked a")
			if asked {
				require.Equal(t, handler.ErrLockTimeout, f.newLock("a").takeWithin(2*time.Second))
				other.expect("asked a")
			}
			other.freeze()
			f.age("a.lock", 15*time.Second)
			f.mustBeBusy("a")
			other.thaw()
			require.Eventually(t, func() bool {
				info, err := os.Stat(f.path("a.lock"))
				return err == nil && time.Since(info.ModTime()) < 10*time.Second
			}, f.patience(), 10*time.Millisecond, "no beat")
			f.mustBeBusy("a")
			other.unlock("a")
			f.hold("a").unlock()
			f.mustBecomeEmpty()
		})
	}
}

// Those who wait and those who hold all ask the file server for its time, through one file that
// each of them removes. That is in nobody's way.
func TestTimeOfAFileServer(t *testing.T) {
	one, two := machines(t)
	eager := settings{Holder: time.Millisecond, Acquirer: time.Millisecond}
	f := setUpIn(t, underTest(), one, eager)
	rebooted := ofBoot(f, otherBoot+"\n")
	holder, waiter := f.start(rebooted, at(two)), f.start(rebooted, at(two))
	holder.tell("lock a")
	holder.expect("locked a")
	waiter.tell("lock a")
	holder.expect("asked a")
	require.Equal(t, handler.ErrLockTimeout, f.newLock("a").takeWithin(2*time.Second))
	require.Empty(t, waiter.events)
	holder.unlock("a")
	waiter.expect("locked a")
	waiter.unlock("a")
	f.hold("a").unlock()
	f.mustBecomeEmpty()
}
