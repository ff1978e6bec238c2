package lockertest_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"

	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

func memory() lockertest.Factory {
	return lockertest.Factory{New: func(testing.TB) handler.Locker { return memorylocker.New() }}
}

func TestMistakesInTheFactory(t *testing.T) {
	for says, f := range map[string]lockertest.Factory{
		"the factory has no New":                               {},
		"the patience is negative: -1s":                        {New: memory().New, Patience: -time.Second},
		`there is no capability "Fast"`:                        {New: memory().New, Claims: []lockertest.Capability{"Fast"}},
		`there is no subtest "HandsOver"`:                      {New: memory().New, Known: map[string]string{"HandsOver": "?"}},
		`there is no subtest "HandOvers"`:                      {New: memory().New, Sometimes: map[string]string{"HandOvers": "?"}},
		`the failure of "HandOver" is listed without a reason`: {New: memory().New, Known: map[string]string{"HandOver": ""}},
		`the failure of "HandOver" is listed twice`: {
			New: memory().New, Known: map[string]string{"HandOver": "a"}, Sometimes: map[string]string{"HandOver": "b"},
		},
	} {
		require.ErrorContains(t, f.Validate(), says)
	}
	require.NoError(t, memory().Validate())
}

func TestVerdicts(t *testing.T) {
	const passes, fails, isSkipped = "HandOver", "ForeignUnlock", "InOrder"
	listed := func(name string) map[string]string { return map[string]string{name: "the reason"} }
	for _, c := range []struct {
		subtest          string
		known, sometimes string // a listed name
		outcome, says    string
	}{
		{subtest: passes, outcome: "passed"},
		{subtest: fails, outcome: "failed", says: "got a lock that could not be had"},
		{subtest: isSkipped, outcome: "skipped", says: "the locker does not claim InOrder"},
		{subtest: "Processes/HandOver", outcome: "skipped", says: "the factory has no Command"},
		{subtest: "Readers/Share", outcome: "skipped", says: "the factory has no Reading"},
		{subtest: "Confinement", outcome: "skipped", says: "the factory has no Audit"},
		{subtest: passes, known: fails, outcome: "passed"},
		{subtest: passes, known: passes, outcome: "failed", says: "passes, but is listed as a known failure: the reason"},
		{subtest: fails, known: fails, outcome: "skipped", says: "known failure: the reason"},
		{subtest: fails, known: passes, outcome: "failed", says: "got a lock that could not be had"},
		{subtest: isSkipped, known: isSkipped, outcome: "failed", says: "is listed as a failure, but not run"},
		{subtest: passes, sometimes: passes, outcome: "passed"},
		{subtest: fails, sometimes: fails, outcome: "skipped", says: "failure that happens sometimes: the reason"},
		{subtest: isSkipped, sometimes: isSkipped, outcome: "failed", says: "is listed as a failure, but not run"},
	} {
		f := memory()
		if c.known != "" {
			f.Known = listed(c.known)
		}
		if c.sometimes != "" {
			f.Sometimes = listed(c.sometimes)
		}
		outcome, log := lockertest.Judged(t, f, c.subtest)
		require.Equal(t, c.outcome, outcome, "%+v", c)
		require.Contains(t, log, c.says, "%+v", c)
	}
}

// locker is made of functions.
type locker struct {
	lock   func(ctx context.Context, release func()) error
	unlock func() error
}

func (l locker) NewLock(string) (handler.Lock, error) { return l, nil }
func (l locker) Lock(ctx context.Context, requestRelease func()) error {
	return l.lock(ctx, requestRelease)
}
func (l locker) Unlock() error { return l.unlock() }

// Whatever a locker does, the subtest ends, and fails.
func TestBadManners(t *testing.T) {
	goOn := make(chan struct{})
	defer close(goOn)
	hang := func() error { <-goOn; return nil }
	fine := func() error { return nil }
	free := func(context.Context, func()) error { return nil }
	for says, l := range map[string]handler.Locker{
		"Unlock panics: oh":    locker{free, func() error { panic("oh") }},
		"Lock panics: oh":      locker{func(context.Context, func()) error { panic("oh") }, fine},
		"waited in vain":       locker{func(context.Context, func()) error { return hang() }, fine},
		"the subtest hangs:":   locker{free, hang},
		"New has returned nil": nil,
	} {
		f := lockertest.Factory{New: func(testing.TB) handler.Locker { return l }, Patience: 50 * time.Millisecond}
		outcome, log := lockertest.Try(t, f, "SecondUnlock")
		require.Equal(t, "failed", outcome, says)
		require.Contains(t, log, says)
	}
}

// What the factory's functions report counts, also when everything is over.
func TestFactoryReports(t *testing.T) {
	for says, New := range map[string]func(t testing.TB) handler.Locker{
		"failed in New": func(t testing.TB) handler.Locker { t.Fatal("failed in New"); return nil },
		"panics in New": func(testing.TB) handler.Locker { panic("panics in New") },
		"failed in a cleanup": func(t testing.TB) handler.Locker {
			t.Cleanup(func() { t.Error("failed in a cleanup") })
			return memorylocker.New()
		},
		"panics in a cleanup": func(t testing.TB) handler.Locker {
			t.Cleanup(func() { panic("panics in a cleanup") })
			return memorylocker.New()
		},
	} {
		outcome, log := lockertest.Try(t, lockertest.Factory{New: New}, "HandOver")
		require.Equal(t, "failed", outcome, says)
		require.Contains(t, log, says)
	}
	f := memory()
	f.New = func(t testing.TB) handler.Locker { t.Skip("not on this machine"); return nil }
	outcome, log := lockertest.Try(t, f, "HandOver")
	require.Equal(t, "skipped", outcome)
	require.Contains(t, log, "not on this machine")
	f = memory()
	f.Audit = func(t testing.TB, _ handler.Locker, held ...string) { t.Errorf("audited with %d locks", len(held)) }
	outcome, log = lockertest.Try(t, f, "HandOver")
	require.Equal(t, "failed", outcome)
	require.Contains(t, log, "audited with 0 locks")
}

// The TB of a subtest is as good as that of package testing.
func TestRecorder(t *testing.T) {
	var dir string
	var order []string
	var ctx context.Context
	f := memory()
	f.New = func(t testing.TB) handler.Locker {
		t.Cleanup(func() { order = append(order, "first") })
		t.Cleanup(func() { order = append(order, "second") })
		dir, ctx = t.TempDir(), t.Context()
		require.NoError(t, ctx.Err())
		require.DirExists(t, dir)
		t.Log("logged", 1)
		t.Logf("logged %d", 2)
		_, err := t.Output().Write([]byte("logged 3\n"))
		require.NoError(t, err)
		require.False(t, t.Failed() || t.Skipped())
		return memorylocker.New()
	}
	outcome, log := lockertest.Try(t, f, "HandOver")
	require.Equal(t, "passed", outcome, log)
	require.Regexp(t, `^run_test\.go:\d+: logged 1\nrun_test\.go:\d+: logged 2\nlogged 3$`, log)
	require.NoDirExists(t, dir)
	require.Error(t, ctx.Err())
	require.Equal(t, []string{"second", "first"}, order)
}

// A process that is none of ours is noticed at once.
func TestProcessThatDoesNotServe(t *testing.T) {
	f := memory()
	for kind, says := range map[string]string{"nobody": "should call Serve", "unknown": "no locker is called unknown"} {
		f.Command = func(t testing.TB, _ handler.Locker) *exec.Cmd { return again(t, kind, t.TempDir()) }
		outcome, log := lockertest.Try(t, f, "Processes/HandOver")
		require.Equal(t, "failed", outcome)
		require.Contains(t, log, says)
	}
	f.Command = func(testing.TB, handler.Locker) *exec.Cmd { return nil }
	outcome, log := lockertest.Try(t, f, "Processes/HandOver")
	require.Equal(t, "failed", outcome)
	require.Contains(t, log, "Command has returned nil")
}

// runEnv has TestRunItself run the suite for real.
const runEnv = "LOCKERTEST_RUN"

// TestRunItself shows in other processes that go test fails, passes and skips as it should.
func TestRunItself(t *testing.T) {
	f := memory()
	switch os.Getenv(runEnv) {
	case "unlisted":
		lockertest.Run(t, f)
		return
	case "listed":
		f.Known = map[string]string{"ForeignUnlock": "the reason"}
		lockertest.Run(t, f)
		return
	case "vanished":
		f.Known = map[string]string{"HandOver": "the reason"}
		lockertest.Run(t, f)
		return
	case "mistaken":
		f.Known = map[string]string{"HandsOver": "the reason"}
		lockertest.Run(t, f)
		return
	}
	for _, c := range []struct{ name, subtest, says string }{
		{"unlisted", "ForeignUnlock", "--- FAIL: TestRunItself/ForeignUnlock "},
		{"listed", "ForeignUnlock", "--- SKIP: TestRunItself/ForeignUnlock "},
		{"listed", "HandOver", "--- PASS: TestRunItself/HandOver "},
		{"listed", "Processes/HandOver", "--- SKIP: TestRunItself/Processes/HandOver "},
		{"vanished", "HandOver", "--- FAIL: TestRunItself/HandOver "},
		{"mistaken", "HandOver", `there is no subtest "HandsOver"`},
	} {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.timeout=1m", "-test.run=^TestRunItself$/^"+c.subtest+"$")
		cmd.Env = append(os.Environ(), runEnv+"="+c.name, "GORACE=atexit_sleep_ms=0")
		out, _ := cmd.CombinedOutput()
		require.Contains(t, string(out), c.says, c.name)
	}
}
