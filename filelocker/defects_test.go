package filelocker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tusdlocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// The tests of the files defects*_test.go each show one defect of the stock locker that ours
// must not have. TestStockHasTheDefects runs them over the stock locker, where they fail.

// After a wait that ended in vain, the stock locker's .stop file stayed behind and stopped the
// next holder, who had nothing to do with it (tusd#1372).
func TestTimeoutWithdrawsTheRequest(t *testing.T) {
	f := setUp(t)
	holder := f.start()
	holder.tell("here a")
	holder.expect("locked a")

	require.Equal(t, handler.ErrLockTimeout, f.newLock("a").takeWithin(200*time.Millisecond))
	f.mustHold("a.lock")

	holder.expect("asked a")
	holder.tell("unlock a")
	holder.expect("unlocked a")
	f.mustHold()
}

// A .stop that was left by a process which is no more must neither stop the next holder nor
// stay (tusd#1372).
func TestAbandonedRequestDoesNotStopTheNextHolder(t *testing.T) {
	for _, age := range []time.Duration{0, time.Hour} {
		t.Run(age.String(), func(t *testing.T) {
			f := setUp(t)
			f.leave("a.stop", "", age)
			g := f.hold("a")
			f.settle()
			g.mustNotBeAsked()
			f.mustHold("a.lock")
			g.unlock()
			f.mustHold()
		})
	}
}

// Who had to ask for a lock must not be stopped by that same request once it has the lock. With
// the stock locker this happened when the former holder died instead of answering.
func TestOwnRequestDoesNotStopTheHolder(t *testing.T) {
	f := setUp(t)
	former := f.start()
	former.tell("here a")
	former.expect("locked a")

	g := f.newLock("a")
	done := g.takeSoon(context.Background())
	former.expect("asked a")
	former.kill()
	require.NoError(t, receive(f, done, "the lock of a killed process"))

	f.settle()
	g.mustNotBeAsked()
	f.mustHold("a.lock")
	g.unlock()
	f.mustHold()
}

// A second Unlock of the stock locker closed a closed channel.
func TestSecondUnlockIsAnError(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	g.unlock()
	var err error
	require.NotPanics(t, func() { err = g.lock.Unlock() })
	require.ErrorIs(t, err, filelocker.ErrNotHeld)
	f.hold("a").unlock()
}

// Only the holder can unlock. The stock locker looked at the PID alone, so that any lock
// object of the process could free it.
func TestOnlyTheHolderUnlocks(t *testing.T) {
	f := setUp(t)
	g := f.hold("a")
	other := f.newLock("a")
	err := other.lock.Unlock()
	f.mustHold("a.lock")
	require.ErrorIs(t, err, filelocker.ErrNotHeld)
	f.mustBeBusy("a")

	require.Equal(t, handler.ErrLockTimeout, other.takeWithin(50*time.Millisecond))
	require.ErrorIs(t, other.lock.Unlock(), filelocker.ErrNotHeld, "after a wait in vain")
	f.mustBeBusy("a")
	g.unlock()
	f.mustHold()
}

// Unlock must not remove a lock file that has become somebody else's, and a holder whose lock
// was taken away has to stop writing. The stock locker removed whatever had its PID in it, and
// noticed nothing.
func TestLossIsTold(t *testing.T) {
	successor := func(f *fixture) string {
		name := f.path("successor")
		f.leave("successor", "1\n", 0)
		return name
	}
	for name, takeAway := range map[string]func(*fixture){
		"removed": func(f *fixture) {
			require.NoError(f, os.Remove(f.path("a.lock")))
		},
		"renamed": func(f *fixture) {
			require.NoError(f, os.Rename(f.path("a.lock"), f.path("b.lock")))
		},
		"replaced": func(f *fixture) {
			require.NoError(f, os.Rename(successor(f), f.path("a.lock")))
		},
		"made anew": func(f *fixture) {
			content, err := os.ReadFile(f.path("a.lock"))
			require.NoError(f, err)
			require.NoError(f, os.Remove(f.path("a.lock")))
			f.leave("a.lock", string(content), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			g := f.hold("a")
			takeAway(f)
			after := snapshot(f, f.dir)
			g.mustBeAsked()
			require.ErrorIs(t, g.lock.Unlock(), filelocker.ErrLockLost)
			require.Equal(t, after, snapshot(f, f.dir), "somebody else's files")
			require.ErrorIs(t, g.lock.Unlock(), filelocker.ErrNotHeld)
			require.EqualValues(t, 1, g.calls.Load(), "calls of the release callback")
		})
	}
}

// snapshot reads all files under a directory.
func snapshot(f *fixture, dir string) map[string]string {
	f.Helper()
	found := make(map[string]string)
	require.NoError(f, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				return nil
			}
			found[path] = string(content)
			return err
		}
		found[path] = d.Type().String()
		return nil
	}))
	return found
}

// An ID comes from a URL. With the stock locker it led out of the directory.
func TestIDsStayInTheDirectory(t *testing.T) {
	for _, id := range []string{
		"", "..", "../x", "../../x", "a/../../x", "a/../x", "a/..", "/x", "//x",
		"a\x00b", "\x00", ".", "a/", "./", "a/.", strings.Repeat("x", 300), strings.Repeat("a/", 4000) + "x",
	} {
		name := strings.ReplaceAll(id[:min(len(id), 10)], "\x00", "NUL")
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			dir := filepath.Join(outside, "1", "2", "uploads")
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "a"), 0o777))
			f := setUpIn(t, underTest(), dir, settings{})
			before := snapshot(f, outside)
			lock, err := f.locker.NewLock(id)
			require.Error(t, err, "the ID must be refused")
			require.ErrorIs(t, err, filelocker.ErrInvalidID)
			require.Nil(t, lock)
			require.Equal(t, before, snapshot(f, outside))
		})
	}
}

// An upload may be called a.lock or a.stop: then its file stands where the lock or the request
// of the upload a would be. The stock locker took it for a broken lock, or for a request that
// it had made itself, and deleted or truncated it.
func TestUploadsNamedLikeLocks(t *testing.T) {
	contents := map[string]string{
		"content":        "hello",
		"lines":          "hello\nworld\n",
		"empty":          "",
		"dead PID":       noPID + "\n",
		"dead PID first": noPID + "\n{}\n",
		"zero":           "0\n",
	}
	for name, content := range contents {
		t.Run(name, func(t *testing.T) {
			for _, age := range []time.Duration{0, time.Hour} {
				uploadNamedLock(t, content, age)
				uploadNamedStop(t, content, age)
			}
		})
	}
}

func uploadNamedLock(t *testing.T, content string, age time.Duration) {
	f := setUp(t)
	f.leave("a.lock", content, age)
	f.leave("a.lock.info", `{"ID":"a.lock"}`, age)
	before := snapshot(f, f.dir)
	f.mustBeBusy("a")
	require.Equal(t, before, snapshot(f, f.dir))

	f.hold("a.lock").unlock()
	require.Equal(t, before, snapshot(f, f.dir))
}

func uploadNamedStop(t *testing.T, content string, age time.Duration) {
	f := setUp(t)
	f.leave("a.stop", content, age)
	f.leave("a.stop.info", `{"ID":"a.stop"}`, age)
	before := snapshot(f, f.dir)
	g := f.hold("a")
	f.settle()
	g.mustNotBeAsked()
	waiter := f.start()
	waiter.tell("lock a")
	g.unlock() // whether or not it could be asked
	waiter.expect("locked a")
	waiter.tell("unlock a")
	waiter.expect("unlocked a")
	require.Equal(t, before, snapshot(f, f.dir))
}

// The stock locker had one goroutine for each held lock.
func TestHeldLocksCostNoGoroutine(t *testing.T) {
	const n = 5000
	f := setUp(t)
	f.lookSeldom()
	before := runtime.NumGoroutine()
	grips := make([]*grip, n)
	for i := range grips {
		grips[i] = f.hold("upload" + strconv.Itoa(i))
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before+10, "goroutines with %d held locks", n)

	other := f.start()
	started := runtime.NumGoroutine()
	other.tell("lock upload17")
	grips[17].mustBeAsked()
	require.LessOrEqual(t, runtime.NumGoroutine(), started+10, "goroutines after a request")
	for _, g := range grips {
		g.unlock()
	}
	other.expect("locked upload17")
	f.mustHold("upload17.lock")
}

// The documented defaults of the stock locker are 1 s and 3 s. What New sets is 5 s and 2 s.
func TestDefaultsAreThoseDocumented(t *testing.T) {
	documented := fieldDocs(t, packageOf(underTest()), "FileLocker")
	inForce := map[string]time.Duration{
		"HolderPollInterval":   filelocker.DefaultHolderPollInterval,
		"AcquirerPollInterval": filelocker.DefaultAcquirerPollInterval,
	}
	made := reflect.ValueOf(filelocker.New(""))
	if underTest() == stock {
		made = reflect.ValueOf(tusdlocker.New(""))
	}
	for field, want := range map[string]time.Duration{"HolderPollInterval": time.Second, "AcquirerPollInterval": 3 * time.Second} {
		if set := made.FieldByName(field).Interface().(time.Duration); set != 0 {
			inForce[field] = set
		}
		require.Equal(t, want, inForce[field], "the default of %s", field)
		require.Regexp(t, fmt.Sprintf(`(?i)\bdefaults? .*\b%d ?s(econds?)?\b|\[?Default%s\b`, want/time.Second, field),
			documented[field], "the documentation of %s", field)
	}
}
