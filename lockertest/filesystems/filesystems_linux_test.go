package filesystems_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/dirwatch"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

// selected are the subtests of the suite whose outcome can depend on the file system. The
// others run with the flag -full.
var selected = []string{
	"HostileIDs", "Confinement",
	"Processes/Exclusion", "Processes/HandOver", "Processes/TimeoutLeavesNothing",
	"Processes/Crash", "Processes/CrashUnwaited", "Processes/CrashHeirs", "Processes/KilledWaiter",
	"Processes/Restart", "Processes/Pause", "Processes/Readers/Share", "Processes/Readers/Crash",
}

// fileSystem is one that the suite runs on.
type fileSystem struct {
	name  string
	mount func(t *testing.T) view

	left []string // subtests that are not run
	why  string   // they are not
}

// oneMount lists file systems that are reached in one way only.
func oneMount() []fileSystem {
	return []fileSystem{
		{name: "ext4", mount: onImage("ext4", 64, "-q")},
		{name: "xfs", mount: onImage("xfs", 300, "-q")}, // no smaller one can be made
		{name: "btrfs", mount: onImage("btrfs", 120, "-q")},
		{name: "tmpfs", mount: onTmpfs("size=64m")},
		{name: "overlayfs", mount: onOverlay},
		{name: "bindfs (FUSE)", mount: onBindfs},
		{name: "sshfs (FUSE)", mount: onSSHFS},
		{name: "exfat-fuse (FUSE)", mount: onExFAT, left: []string{"HostileIDs"}, why: "to exFAT, a and A are one name"},
	}
}

func TestFileSystems(t *testing.T) {
	found := &table{head: []string{"file system", "exclusion between processes", "who notices a killed holder", "how a lock file gets its name", "result"}}
	trouble := &table{head: []string{"file system", "what happens"}}
	t.Cleanup(func() {
		if err := report(t, found, trouble); err != nil {
			t.Error(err) // after its parallel subtests, FailNow would end the test without a word
		}
	})
	test := func(tb *table, name string, do func(t *testing.T, r *row)) {
		r := tb.row(name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t, r)
		})
	}
	for _, c := range oneMount() {
		test(found, c.name, c.test)
	}
	found.readJSON(t, "testdata/nfs.json")
	for _, c := range []struct {
		name  string
		mount func(t *testing.T) view
	}{
		{"overlayfs and its upper directory", onOverlay},
		{"bindfs and its source", onBindfs},
	} {
		test(found, c.name, func(t *testing.T, r *row) { onTwo(t, r, c.mount(t)) })
	}
	test(trouble, "read-only ext4", onReadOnly)
	for _, c := range []struct {
		name  string
		mount func(t *testing.T) view
		fill  func(t *testing.T, dir string) (empty func())
	}{
		{"full ext4", onImage("ext4", 8, "-q", "-m", "0"), fillBlocks},
		{"full xfs", onImage("xfs", 300, "-q"), fillBlocks},
		{"full tmpfs", onTmpfs("size=1m"), fillBlocks},
		{"tmpfs without inodes", onTmpfs("nr_inodes=40"), fillInodes},
	} {
		test(trouble, c.name, func(t *testing.T, r *row) { onFull(t, r, c.mount(t), c.fill) })
	}
}

// test runs the suite on a file system.
func (c fileSystem) test(t *testing.T, r *row) {
	dir := c.mount(t).dir
	t.Log("f_type", typeOf(t, dir))
	t.Run("publish", func(t *testing.T) { r.Publish = publish(t, makeDir(t, dir, "publish")) })
	t.Run("crash", func(t *testing.T) { r.Crash = crash(t, makeDir(t, dir, "crash")) })
	outcome := &verdicts{passed: make(map[string]bool)}
	t.Run("suite", func(t *testing.T) { lockertest.Run(t, c.factory(t, dir, outcome)) })
	if outcome.passed["Processes/Exclusion"] {
		r.Exclusion = "yes"
	}
	r.Result, r.counts = outcome.String(), true
}

// newLocker makes the locker under test, with intervals that let the suite be short where
// nothing is reported.
func newLocker(dir string) filelocker.FileLocker {
	l := filelocker.New(dir)
	l.HolderPollInterval, l.AcquirerPollInterval = 20*time.Millisecond, 20*time.Millisecond
	return l
}

// factory gives each subtest a directory of its own.
func (c fileSystem) factory(t *testing.T, dir string, outcome *verdicts) lockertest.Factory {
	reading, done := shareReads()
	t.Cleanup(done)
	var n atomic.Int32
	return lockertest.Factory{
		Claims:  []lockertest.Capability{lockertest.InOrder, lockertest.Idle, lockertest.Crash, lockertest.Pause, lockertest.StrictUnlock},
		Reading: reading,
		New: func(t testing.TB) handler.Locker {
			_, name, _ := strings.Cut(t.Name(), "/suite/")
			if slices.Contains(c.left, name) {
				outcome.leaveOut(name, c.why)
				t.Skip(c.why)
			}
			if !*full && !slices.Contains(selected, name) {
				t.Skip("only with -full")
			}
			uploads := filepath.Join(dir, fmt.Sprint("suite", n.Add(1)), "uploads")
			require.NoError(t, os.MkdirAll(filepath.Join(uploads, "folder"), 0o777))
			t.Cleanup(func() { outcome.add(name, !t.Failed()) })
			return newLocker(uploads)
		},
		Command: func(t testing.TB, l handler.Locker) *exec.Cmd {
			exe, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), serveEnv+"="+l.(filelocker.FileLocker).Path, "GORACE=atexit_sleep_ms=0")
			return cmd
		},
		Audit: func(t testing.TB, l handler.Locker, held ...string) {
			want := []string{"uploads", "uploads/folder"}
			for _, id := range held {
				want = append(want, "uploads/"+id+".lock")
			}
			require.ElementsMatch(t, want, settled(t, filepath.Dir(l.(filelocker.FileLocker).Path)))
		},
	}
}

// settled is below when what has to go is gone: files that FUSE keeps under another name
// after their removal until it has heard that they were closed, and what a process left that
// was killed while it asked such a file system for its time, which the next to open the
// directory removes.
func settled(t testing.TB, dir string) (found []string) {
	for over := time.Now().Add(childtest.Patience); ; time.Sleep(10 * time.Millisecond) {
		found = below(t, dir)
		unsettled := false
		for _, name := range found {
			unsettled = unsettled || strings.HasPrefix(filepath.Base(name), ".fuse_hidden")
			if filepath.Base(name) == ".lock-clock" {
				unsettled = true
				require.NoError(t, attempt(t, filepath.Dir(filepath.Join(dir, name)), "settle"))
			}
		}
		if !unsettled || time.Now().After(over) {
			return found
		}
	}
}

// below lists what is in and below a directory.
func below(t testing.TB, dir string) (found []string) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) && path != dir {
			return nil // gone meanwhile
		}
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			found = append(found, rel)
		}
		return err
	}))
	return found
}

// publish looks with strace at how a lock file gets its name. The first lock may try what is
// not to be had.
func publish(t *testing.T, dir string) string {
	childtest.NeedStrace(t)
	trace := filepath.Join(t.TempDir(), "trace")
	p := childtest.Start(t, dir, func(cmd *exec.Cmd) {
		cmd.Args = []string{"strace", "-f", "-qq", "-e", "signal=none", "-e", "trace=renameat2,linkat,openat", "-o", trace, cmd.Path}
		cmd.Path = needCommand(t, "strace")
	})
	for range 2 {
		p.Do("lock", "lock")
		p.Do("unlock", "unlock")
	}
	p.End()
	calls, err := os.ReadFile(trace)
	require.NoError(t, err)
	means := ""
	made := regexp.MustCompile(`(renameat2|linkat|openat)\(.*"a\.lock", .*(RENAME_NOREPLACE|O_EXCL|0\)).* = \d+$`)
	for line := range strings.Lines(string(calls)) {
		if m := made.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			means = m[1]
		}
	}
	require.NotEmpty(t, means, "no call has made a.lock:\n%s", calls)
	return map[string]string{"renameat2": "rename that replaces nothing", "linkat": "hard link", "openat": "exclusive create"}[means]
}

// crash says who notices that a holder was killed: the kernel reports it or not. It also logs
// how long a waiter with the default intervals takes to get the lock.
func crash(t *testing.T, dir string) string {
	var longest time.Duration
	for range 3 {
		p := childtest.Start(t, dir)
		p.Do("lock", "lock")
		lock := newLock(t, dir)
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), childtest.Patience)
		defer cancel()
		go func() { done <- lock.Lock(ctx, func() {}) }()
		p.Expect("asked")
		begin := time.Now()
		p.Kill()
		require.NoError(t, <-done, "the lock of a killed process")
		longest = max(longest, time.Since(begin))
		require.NoError(t, lock.Unlock())
		require.Empty(t, settled(t, dir))
	}
	t.Logf("the lock of a killed process was to be had after %v", longest)
	if told(t, dir) {
		return "the kernel, at once"
	}
	return fmt.Sprintf("polling, within %v", filelocker.DefaultAcquirerPollInterval)
}

// told says whether the kernel reports the end of a holder.
func told(t *testing.T, dir string) bool {
	p := childtest.Start(t, dir)
	p.Do("lock", "lock")
	opened, err := os.Open(dir)
	require.NoError(t, err)
	defer opened.Close()
	reports := make(chan struct{}, 1)
	remote := dirwatch.Remote(opened.Fd())
	watch := dirwatch.New(opened.Fd(), opened.Name(), dirwatch.Options{Interval: time.Second, Remote: remote}, func(name []byte, _ bool) bool {
		if string(name) == "a.lock" {
			select {
			case reports <- struct{}{}:
			default:
			}
		}
		return true
	})
	defer watch.Close()
	// Tests beside this one can have all inotify instances that a user may have, which the ticker asks for again.
	require.Eventually(t, func() bool { return remote || !watch.Polls() }, childtest.Patience, 10*time.Millisecond, "the kernel has no watch left")
	p.Kill()
	defer func() { require.NoError(t, attempt(t, dir, "a")) }()
	select {
	case <-reports:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

func newLock(t *testing.T, dir string) handler.Lock {
	t.Helper()
	lock, err := filelocker.New(dir).NewLock("a")
	require.NoError(t, err)
	return lock
}

// onTwo shows that a lock does not hold for who comes another way, as the documentation says.
func onTwo(t *testing.T, r *row, v view) {
	t.Log("f_type", typeOf(t, v.dir), typeOf(t, v.other))
	p := childtest.Start(t, v.dir)
	p.Do("lock", "lock")
	lock := newLock(t, v.other)
	ctx, cancel := context.WithTimeout(t.Context(), childtest.Patience)
	defer cancel()
	require.NoError(t, lock.Lock(ctx, func() {}), "is protected now: the documentation says that it is not")
	require.NoError(t, lock.Unlock())
	p.Kill()
	r.Exclusion, r.Result = "**no**", "use one of the two ways only"
}
