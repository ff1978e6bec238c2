package dirwatch_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/dirwatch"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// ear hears the names that are reported. A report of everything is heard as "*".
type ear struct {
	mu    sync.Mutex
	names []string
	more  chan struct{}
}

func newEar() *ear { return &ear{more: make(chan struct{}, 1)} }

func (e *ear) hear(name []byte, _ bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if name == nil {
		name = []byte("*")
	}
	e.names = append(e.names, string(name))
	select {
	case e.more <- struct{}{}:
	default:
	}
	return true
}

// all returns what was reported since the last call.
func (e *ear) all() (names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	names, e.names = e.names, nil
	return names
}

// await returns when name, or everything, was reported.
func (e *ear) await(t *testing.T, name string) {
	t.Helper()
	e.awaitAny(t, name, "*")
}

// awaitOnly returns when name was reported.
func (e *ear) awaitOnly(t *testing.T, name string) {
	t.Helper()
	e.awaitAny(t, name)
}

func (e *ear) awaitAny(t *testing.T, names ...string) {
	t.Helper()
	hang := time.After(time.Minute)
	for {
		e.mu.Lock()
		found := slices.ContainsFunc(e.names, func(name string) bool { return slices.Contains(names, name) })
		if found {
			e.names = nil
		}
		e.mu.Unlock()
		if found {
			return
		}
		select {
		case <-e.more:
		case <-hang:
			require.FailNow(t, "no report", names)
		}
	}
}

func open(t *testing.T, path string) uintptr {
	t.Helper()
	dir, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { dir.Close() })
	return dir.Fd()
}

func watch(t *testing.T, path string, opts dirwatch.Options, notify func([]byte, bool) bool) *dirwatch.Watch {
	t.Helper()
	return watchOpen(t, open(t, path), path, opts, notify)
}

func watchOpen(t *testing.T, dir uintptr, path string, opts dirwatch.Options, notify func([]byte, bool) bool) *dirwatch.Watch {
	t.Helper()
	if opts.Interval == 0 {
		opts.Interval = 10 * time.Millisecond
	}
	w := dirwatch.New(dir, path, opts, notify)
	t.Cleanup(w.Close)
	return w
}

func TestReportsWhatHappensToALockFile(t *testing.T) {
	for _, poll := range []bool{false, true} {
		t.Run(fmt.Sprintf("poll=%v", poll), func(t *testing.T) {
			path, heard := t.TempDir(), newEar()
			watch(t, path, dirwatch.Options{Poll: poll}, heard.hear)

			f, err := os.Create(filepath.Join(path, "a"))
			require.NoError(t, err)
			heard.await(t, "a")
			_, err = f.WriteString("1\n")
			require.NoError(t, err)
			require.NoError(t, f.Close())
			heard.await(t, "a")
			require.NoError(t, os.Rename(filepath.Join(path, "a"), filepath.Join(path, "b")))
			heard.await(t, "b")
			require.NoError(t, os.Remove(filepath.Join(path, "b")))
			heard.await(t, "b")
		})
	}
}

func TestSeveralWatchesOfOneDirectory(t *testing.T) {
	path := t.TempDir()
	one, two := newEar(), newEar()
	first := watch(t, path, dirwatch.Options{}, one.hear)
	watch(t, path, dirwatch.Options{}, two.hear)
	require.NoError(t, os.WriteFile(filepath.Join(path, "a"), nil, 0o600))
	one.await(t, "a")
	two.await(t, "a")

	first.Close()
	first.Close()
	require.NoError(t, os.WriteFile(filepath.Join(path, "b"), nil, 0o600))
	two.await(t, "b")
	require.NotContains(t, one.names, "b", "a closed watch reports nothing")
}

// moody is a watch whose reports are wanted now and then, and none that is called noise.
type moody struct {
	*dirwatch.Watch
	*ear
	path   string
	wanted atomic.Bool
}

func watchNowAndThen(t *testing.T, path string) *moody {
	t.Helper()
	return watchNowAndThenOpen(t, open(t, path), path, dirwatch.Options{Interval: time.Hour})
}

func watchNowAndThenOpen(t *testing.T, dir uintptr, path string, opts dirwatch.Options) *moody {
	t.Helper()
	m := &moody{ear: newEar(), path: path}
	opts.Wanted = m.wanted.Load
	m.Watch = watchOpen(t, dir, path, opts, func(name []byte, appeared bool) bool {
		return !bytes.Equal(name, []byte("noise")) && m.hear(name, appeared)
	})
	if m.Polls() {
		need(t, "needs inotify: a ticker reports all the time")
	}
	return m
}

func (m *moody) touch(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(m.path, name), nil, 0o600))
}

// heeds requires that what happens after Listen is heard. Then nobody wants to hear any more.
func (m *moody) heeds(t *testing.T, name string) {
	t.Helper()
	m.wanted.Store(true)
	m.Listen()
	m.touch(t, name)
	m.awaitOnly(t, name)
	m.wanted.Store(false)
}

// tire has so much happen that matters to nobody, that it is not to be reported when nobody listens.
func (m *moody) tire(t *testing.T) {
	t.Helper()
	m.heeds(t, "quiet")
	for range 100 { // the kernel makes one event of two that are equal
		m.touch(t, "noise")
		require.NoError(t, os.Remove(filepath.Join(m.path, "noise")))
	}
	m.heeds(t, "quiet")
}

// While nothing is wanted, a busy directory does not wake the process; who listens again hears what happens
// from then on.
func TestUnwanted(t *testing.T) {
	m := watchNowAndThen(t, t.TempDir())
	m.heeds(t, "a")
	for _, name := range []string{"b", "noise"} {
		var late []string
		for range 100 {
			m.touch(t, name)
			time.Sleep(100 * time.Microsecond)
			late = append(late, m.all()...)
		}
		require.LessOrEqual(t, len(late), 10, "the events of one read, at most: %d", len(late))
		for i := range 10 {
			m.heeds(t, fmt.Sprint("c", i))
			m.touch(t, "d")
		}
	}
}

// Nobody who listens misses what happens then, whenever it is that the reports end.
func TestListenAgainAndAgain(t *testing.T) {
	m := watchNowAndThen(t, t.TempDir())
	m.tire(t)
	defer makeNoise(m.path)()
	for i := range 1000 {
		m.heeds(t, fmt.Sprint("a", i%10))
	}
}

// makeNoise changes a directory without a pause until stop is called.
func makeNoise(path string) (stop func()) {
	noise := filepath.Join(path, "noise")
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				_ = os.WriteFile(noise, nil, 0o600)
				_ = os.Remove(noise)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// What one of two watches of a directory wants to hear is reported.
func TestUnwantedByTheOther(t *testing.T) {
	path := t.TempDir()
	one, two := watchNowAndThen(t, path), watchNowAndThen(t, path)
	one.tire(t)
	two.wanted.Store(true)
	two.Listen()
	for i := range 10 {
		one.touch(t, "noise")
		two.touch(t, fmt.Sprint("a", i))
		two.awaitOnly(t, fmt.Sprint("a", i))
	}
}

// So is what a new one wants to hear, whenever it is that the reports end.
func TestNewBesideUnwanted(t *testing.T) {
	m := watchNowAndThen(t, t.TempDir())
	m.tire(t)
	defer makeNoise(m.path)()
	for i := range 5000 {
		heard := newEar()
		w := watch(t, m.path, dirwatch.Options{Interval: time.Hour}, heard.hear)
		name := fmt.Sprint("a", i%10)
		m.touch(t, name)
		heard.await(t, name)
		w.Close()
	}
}

// Two watches share what wakes the process.
func TestUnwantedByOne(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	deaf, heard := newEar(), newEar()
	watch(t, one, dirwatch.Options{Wanted: func() bool { return false }}, deaf.hear)
	watch(t, two, dirwatch.Options{}, heard.hear)
	for range 10 {
		require.NoError(t, os.WriteFile(filepath.Join(one, "a"), nil, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(two, "b"), nil, 0o600))
		heard.await(t, "b")
	}
}

func TestManyDirectories(t *testing.T) {
	base := t.TempDir()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			path, heard := filepath.Join(base, fmt.Sprint(i)), newEar()
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Error(err)
				return
			}
			w := watch(t, path, dirwatch.Options{}, heard.hear)
			if err := os.WriteFile(filepath.Join(path, "a"), nil, 0o600); err != nil {
				t.Error(err)
			}
			heard.await(t, "a")
			w.Close()
		})
	}
	wg.Wait()
}

// The watch is on the directory that was opened, wherever it is moved, and not on the path.
func TestFollowsTheDirectory(t *testing.T) {
	base, heard := t.TempDir(), newEar()
	path := filepath.Join(base, "d")
	require.NoError(t, os.Mkdir(path, 0o700))
	watch(t, path, dirwatch.Options{}, heard.hear)
	require.NoError(t, os.Rename(path, filepath.Join(base, "e")))
	heard.await(t, "*")
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(base, "e", "a"), nil, 0o600))
	heard.await(t, "a")
}

// The end of a directory that somebody has open is not reported, but that of its files is.
func TestRemovedDirectory(t *testing.T) {
	path, heard := filepath.Join(t.TempDir(), "d"), newEar()
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(path, "a"), nil, 0o600))
	w := watch(t, path, dirwatch.Options{}, heard.hear)
	require.NoError(t, os.RemoveAll(path))
	heard.await(t, "a")
	w.Close()
}

// Names that matter to nobody must not keep one that does from being reported.
func TestBurst(t *testing.T) {
	path, heard := t.TempDir(), newEar()
	var ignored atomic.Int64
	watch(t, path, dirwatch.Options{}, func(name []byte, appeared bool) bool {
		if bytes.HasPrefix(name, []byte("noise")) {
			ignored.Add(1)
			return false
		}
		return heard.hear(name, appeared)
	})
	for i := range 3000 {
		require.NoError(t, os.WriteFile(filepath.Join(path, fmt.Sprint("noise", i%10)), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(path, "a"), nil, 0o600))
	heard.await(t, "a")
	require.Positive(t, ignored.Load())
}

// An overflow of the kernel's queue loses names: then everything may have changed.
func TestOverflow(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		need(t, "needs inotify")
	}
	var limit int
	_, err = fmt.Sscan(string(b), &limit)
	require.NoError(t, err)

	path, heard := t.TempDir(), newEar()
	enter, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	watch(t, path, dirwatch.Options{}, func(name []byte, appeared bool) bool {
		once.Do(func() { close(enter); <-leave })
		if name == nil {
			return heard.hear(nil, false)
		}
		return true
	})
	require.NoError(t, os.WriteFile(filepath.Join(path, "first"), nil, 0o600))
	<-enter
	a, b2 := filepath.Join(path, "a"), filepath.Join(path, "b")
	require.NoError(t, os.WriteFile(a, nil, 0o600))
	for range limit/4 + 16 { // each turn makes four events
		require.NoError(t, os.Rename(a, b2))
		require.NoError(t, os.Rename(b2, a))
	}
	close(leave)
	heard.await(t, "*")
}

func TestTicker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks int
		path := t.TempDir()
		w := dirwatch.New(open(t, path), path, dirwatch.Options{Interval: time.Second, Poll: true}, func(name []byte, appeared bool) bool {
			require.Nil(t, name)
			looks++
			return true
		})
		require.True(t, w.Polls())
		require.Negative(t, w.Descriptor())
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		require.Equal(t, 10, looks)
		w.Close()
		time.Sleep(time.Minute)
		require.Equal(t, 10, looks)
	})
}

func TestRemote(t *testing.T) {
	require.False(t, dirwatch.Remote(open(t, t.TempDir())), "tests run on a local file system")
	if _, err := os.Stat("/proc/self"); err != nil {
		need(t, "needs /proc")
	}
	require.True(t, dirwatch.Remote(open(t, "/proc")), "what is not known to be local counts as remote")
}

// need skips a test for want of something, or fails it where everything has to be there.
func need(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("TUSD_FILELOCK_REQUIRE_ALL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}
