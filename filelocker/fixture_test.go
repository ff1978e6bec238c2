package filelocker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tusdlocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// kind is an implementation of handler.Locker. The tests know nothing else of what they test,
// so that each one can be run over the stock locker as well.
type kind string

const (
	ours   kind = "ours"
	stock  kind = "stock"
	memory kind = "memory"
)

// overEnv names the kind that the tests run over; ours if it is not set.
const overEnv = "FILELOCKER_TEST_OVER"

func underTest() kind {
	if k := kind(os.Getenv(overEnv)); k != "" {
		return k
	}
	return ours
}

// settings of a locker. The zero value are the defaults of ours.
type settings struct {
	Holder, Acquirer time.Duration
	Flat             bool
	Hasty            bool
	Loyal            bool
}

// bothWays tests processes that have been idle, and such as are busy and make a lock file before they
// ask for one.
func bothWays(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	for name, hasty := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.set.Hasty = hasty
			test(t, f)
		})
	}
}

func (k kind) locker(dir string, s settings) handler.Locker {
	switch k {
	case ours:
		l := filelocker.New(dir)
		l.HolderPollInterval, l.AcquirerPollInterval, l.FlatNames = s.Holder, s.Acquirer, s.Flat
		return l.Hasty(s.Hasty).Loyal(s.Loyal)
	case stock:
		return tusdlocker.FileLocker{Path: dir, HolderPollInterval: s.Holder, AcquirerPollInterval: s.Acquirer}
	case memory:
		return memorylocker.New()
	}
	panic("no locker is called " + string(k))
}

// fixture is a directory for one test and the locker that is tested in it.
type fixture struct {
	testing.TB
	kind   kind
	dir    string
	set    settings
	locker handler.Locker
}

// setUp makes a fixture over the locker under test. Ours has its default intervals and must
// not need them; the stock locker gets short ones, so that its failures come soon.
func setUp(tb testing.TB) *fixture {
	var s settings
	if underTest() == stock {
		s = settings{Holder: 10 * time.Millisecond, Acquirer: 20 * time.Millisecond}
	}
	return setUpIn(tb, underTest(), tb.TempDir(), s)
}

func setUpIn(tb testing.TB, k kind, dir string, s settings) *fixture {
	f := &fixture{TB: tb, kind: k, dir: dir, set: s, locker: k.locker(dir, s)}
	if k == ours {
		tb.Cleanup(f.mustBeClosed)
	}
	return f
}

// lookSeldom is for tests that hold thousands of locks: with its short interval the stock locker
// leaves a busy machine no time for anything else.
func (f *fixture) lookSeldom() {
	f.set.Holder *= 10
	f.locker = f.kind.locker(f.dir, f.set)
}

// mustBeClosed waits until the locker has closed the directory, which it may do some time
// after the last use.
func (f *fixture) mustBeClosed() {
	if f.Failed() || f.Skipped() {
		return
	}
	dir, err := filepath.EvalSymlinks(f.dir)
	if err != nil {
		return // the test has removed it
	}
	open := func() bool {
		for _, to := range descriptors() {
			if strings.HasPrefix(to, dir) {
				return true
			}
		}
		return false
	}
	for deadline := time.After(10 * time.Second); open(); {
		filelocker.CloseUnused()
		select {
		case <-deadline:
			f.Errorf("files are open after the test: %v", descriptors())
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// patience is how long a test waits for what has to come. It only ends tests that fail.
func (f *fixture) patience() time.Duration {
	if f.kind == stock && underTest() == stock {
		return 3 * time.Second
	}
	return time.Minute
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// leave puts a file with the given age into the directory.
func (f *fixture) leave(name, content string, age time.Duration) {
	f.Helper()
	require.NoError(f, os.WriteFile(f.path(name), []byte(content), 0o664))
	then := time.Now().Add(-age)
	require.NoError(f, os.Chtimes(f.path(name), then, then))
}

// mustHold requires that the directory holds these files, sorted by name, and no others.
func (f *fixture) mustHold(names ...string) {
	f.Helper()
	entries, err := os.ReadDir(f.dir)
	require.NoError(f, err)
	found := []string{}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	require.Equal(f, append([]string{}, names...), found, "files in the directory")
}

// grip is one lock of a test and what happened to it.
type grip struct {
	f     *fixture
	lock  handler.Lock
	calls atomic.Int32
	asked chan struct{} // gets a value for each call of the release callback
}

func (f *fixture) newLock(id string) *grip {
	f.Helper()
	lock, err := f.locker.NewLock(id)
	require.NoError(f, err)
	// A hold that a failed test leaves would make those after it fail as well.
	f.Cleanup(func() {
		if f.Failed() {
			_ = lock.Unlock()
		}
	})
	return &grip{f: f, lock: lock, asked: make(chan struct{}, 16)}
}

func (g *grip) release() {
	g.calls.Add(1)
	g.asked <- struct{}{}
}

func (g *grip) take(ctx context.Context) error { return g.lock.Lock(ctx, g.release) }

// hold takes a lock that has to be free, or to become free.
func (f *fixture) hold(id string) *grip {
	f.Helper()
	g := f.newLock(id)
	require.NoError(f, g.takeWithin(f.patience()), "the lock %q must be free", id)
	return g
}

// takeSoon starts to wait for a lock in the background.
func (g *grip) takeSoon(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- g.take(ctx) }()
	return done
}

func (g *grip) takeWithin(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return g.take(ctx)
}

// mustBeBusy requires that the lock of id cannot be had.
func (f *fixture) mustBeBusy(id string) {
	f.Helper()
	require.Equal(f, handler.ErrLockTimeout, f.newLock(id).takeWithin(150*time.Millisecond), "the lock %q must be busy", id)
}

func (g *grip) unlock() {
	g.f.Helper()
	require.NoError(g.f, g.lock.Unlock())
}

// mustBeAsked waits for the release callback.
func (g *grip) mustBeAsked() {
	g.f.Helper()
	select {
	case <-g.asked:
	case <-time.After(g.f.patience()):
		require.FailNow(g.f, "the holder was not asked to let go")
	}
}

func (g *grip) mustNotBeAsked() {
	g.f.Helper()
	require.Zero(g.f, g.calls.Load(), "the holder was asked to let go")
}

// settle returns when the locker has had occasion to look at everything it holds: another
// process has asked for a lock that was taken later, and the request has arrived.
func (f *fixture) settle() {
	f.Helper()
	late := f.hold("settle")
	other := f.start()
	other.tell("lock settle")
	late.mustBeAsked()
	late.unlock()
	other.expect("locked settle")
	other.tell("unlock settle")
	other.expect("unlocked settle")
	other.end()
}

// receive waits for a value that has to come.
func receive[T any](f *fixture, from <-chan T, what string) T {
	f.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(f.patience()):
		require.FailNow(f, "nothing came", what)
		panic("not reached")
	}
}

// noPID is a number that no process can have, on Linux at least: one above the largest PID.
const noPID = "4194305"
