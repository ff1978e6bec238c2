package filelocker_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

var allFaults = flag.Bool("faults", false, "have each system call fail with each error, and not every fourth time only")

// course is one way that a Lock and an Unlock can go.
type course struct {
	order  string                  // how the faulty process locks
	hasty  bool                    // it tries before it asks
	meet   func(f *fixture) *grip  // makes what it meets; nil if nobody is in the way
	yield  func(g *grip, c *child) // has who is in the way go, before the process gets the lock
	late   bool                    // it does so when the process has come to rest
	settle func()                  // waits until nobody is in the way
	races  bool                    // which calls are made depends on who is quicker
	forks  bool                    // there is a short way and a long one, and either can be taken
}

// Each system call fails, with one error after the other, or comes late, once. Then the
// operation has worked all the same, or its error tells what failed; nothing is held that should
// not be, nothing is open that was not, and who comes next works and finds nothing left over.
func TestFaultAtEachStep(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	courses := coursesOf(f)
	for _, name := range slices.Sorted(maps.Keys(courses)) {
		t.Run(name, func(t *testing.T) { courses[name].withFaults(setUp(t)) })
	}
}

func coursesOf(f *fixture) map[string]course {
	f.Helper()
	corpse := corpseOf(f)
	dead := func(f *fixture) *grip {
		f.leave("a.lock", corpse, 0)
		return nil
	}
	held := func(f *fixture) *grip { return f.hold("a") }
	var ahead lineAhead
	return map[string]course{
		"exclusive":     {order: "here"},
		"shared":        {order: "readhere"},
		"takeover":      {order: "here", meet: dead},
		"busy takeover": {order: "here", hasty: true, meet: dead},
		"wait":          {order: "here", meet: held, yield: yieldLate, late: true},
		"busy wait":     {order: "here", hasty: true, meet: held, yield: yieldLate, late: true},
		"prompt answer": {order: "here", meet: held, yield: yieldWhenAsked, forks: true},
		"in line":       {order: "here", meet: ahead.meet, yield: ahead.yield, settle: ahead.settle, races: true},
		"join":          {order: "readhere", meet: func(f *fixture) *grip { return f.read("a") }},
	}
}

// corpseOf is the content of a lock file that a killed process left.
func corpseOf(f *fixture) string {
	f.Helper()
	dead := f.start()
	dead.tell("here a")
	dead.expect("locked a")
	dead.kill()
	content, err := os.ReadFile(f.path("a.lock"))
	require.NoError(f, err)
	f.hold("a").unlock()
	f.mustHold()
	return string(content)
}

// lineAhead is a process that stands in line before the faulty one.
type lineAhead struct {
	*child
	gone chan struct{}
}

func (l *lineAhead) meet(f *fixture) *grip {
	g := f.hold("a")
	l.child = f.waiters("a", 1)[0]
	return g
}

// yield has the holder unlock when c stands in line, or cannot get there, and the one ahead when it
// has the lock, which is before c if c stands in line.
func (l *lineAhead) yield(g *grip, c *child) {
	g.f.Helper()
	g.mustBeAsked()
	line := g.f.lineOf("a")
	for began := time.Now(); g.f.countInLine(line) < 2 && len(c.events) == 0 && time.Since(began) < time.Second; {
		time.Sleep(time.Millisecond)
	}
	g.unlock()
	l.gone = make(chan struct{})
	go func() {
		defer close(l.gone)
		for event := range l.events {
			if event == "locked a" {
				fmt.Fprintln(l.orders, "unlock a")
				l.orders.Close()
			}
		}
	}()
}

func (l *lineAhead) settle() { <-l.gone }

// yieldWhenAsked is for a holder in the way of a process that may fail before it asks.
func yieldWhenAsked(g *grip, c *child) { yieldAfter(g, c, func() {}) }

// yieldLate has the process come to rest first, or fail.
func yieldLate(g *grip, c *child) {
	yieldAfter(g, c, g.f.mayRest)
}

// mayRest waits until no lock file is in the making, and for two looks more, or for a second.
func (f *fixture) mayRest() {
	f.Helper()
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(time.Millisecond) {
		staged, err := filepath.Glob(f.path(".lock-*"))
		require.NoError(f, err)
		if len(staged) == 0 {
			break
		}
	}
	time.Sleep(20 * time.Millisecond)
}

func yieldAfter(g *grip, c *child, rest func()) {
	g.f.Helper()
	select {
	case <-g.asked:
		rest()
		g.unlock()
	case event := <-c.events:
		require.NotEqual(g.f, "locked a", event, "two holders of one lock")
		g.unlock()
		c.events <- event
	case <-time.After(g.f.patience()):
		require.FailNow(g.f, "neither asked nor failed")
	}
}

// tally is what came of the faults.
type tally struct {
	steps, faults, missed, failures, kept int
	messages                              map[string]int
}

func (way course) withFaults(f *fixture) {
	f.Helper()
	c, steps := way.steps(f)
	sum := tally{steps: len(steps), messages: make(map[string]int)}
	for i, at := range steps {
		for j, what := range faults {
			if *allFaults || (i+j)%4 == 0 {
				way.withFault(f, c, at, what, &sum)
				if at.leaks(what) {
					c.end()
					c = way.fresh(f)
				}
			}
		}
	}
	f.Logf("%d steps, %d faults (%d more struck nothing), %d failures to lock, %d to unlock",
		sum.steps, sum.faults, sum.missed, sum.failures, sum.kept)
	for _, m := range slices.Sorted(maps.Keys(sum.messages)) {
		f.Logf("%4d %s", sum.messages[m], m)
	}
	if way.forks {
		require.Greater(f, 3*sum.faults, sum.missed, "faults that struck")
		return
	}
	sure := 9
	if way.races {
		sure = 2
	}
	require.Greater(f, sum.faults, sure*sum.missed, "faults that struck")
}

// steps are what a process that has locked before does on that way at least: the slower it all
// goes, the more often it looks.
func (way course) steps(f *fixture) (c *child, steps []step) {
	f.Helper()
	c = way.fresh(f)
	const most, runs = 8, 4
	for n := range runs {
		clean := c.trace()
		require.Equal(f, []string{"locked a", "unlocked a"}, way.run(f, c))
		if s := stepsIn(clean.detach(), f.dir, most); n == 0 || len(s) < len(steps) {
			steps = s
		}
		c.mustHaveClosed()
	}
	require.Greater(f, len(steps), 10, "system calls of a cycle")
	return c, steps
}

// leaks says that the fault leaves a descriptor open: strace keeps the call from being made,
// while the kernel closes whatever it answers.
func (at step) leaks(what fault) bool { return at.call == "close" && what.errno != 0 }

// fresh is a process that has locked before: the first time it also learns who it is.
func (way course) fresh(f *fixture) *child {
	f.Helper()
	c := f.start(func(_ *exec.Cmd, spec *childSpec) { spec.Set.Hasty = way.hasty })
	require.Equal(f, []string{"locked a", "unlocked a"}, way.run(f, c))
	c.mustHaveClosed()
	return c
}

// run has the process lock and unlock, and returns what it says to that.
func (way course) run(f *fixture, c *child) (answers []string) {
	f.Helper()
	var g *grip
	if way.meet != nil {
		g = way.meet(f)
	}
	if way.settle != nil {
		defer way.settle()
	}
	c.tell(way.order + " a")
	if way.yield != nil {
		way.yield(g, c)
		g = nil
	}
	answers = append(answers, c.next())
	if g != nil {
		g.unlock()
	}
	if answers[0] != "locked a" {
		return answers
	}
	f.mustKeepOut("a")
	c.tell("unlock a")
	return append(answers, c.answer("a"))
}

// answer is what the process says next, but for that it was asked to let go.
func (c *child) answer(id string) string {
	c.f.Helper()
	event := c.next()
	for event == "asked "+id {
		event = c.next()
	}
	return event
}

// withFault has a call fail, in one of some attempts: a machine that is busy otherwise than when the
// steps were counted can be too quick or too slow for a fault to strike.
func (way course) withFault(f *fixture, c *child, at step, what fault, sum *tally) {
	f.Helper()
	const attempts = 4
	for range attempts {
		if way.tryFault(f, c, at, what, sum) {
			sum.faults++
			return
		}
	}
	sum.missed++
}

// tryFault has the process lock and unlock while one call fails, looks at what is left, and says
// whether the fault struck.
func (way course) tryFault(f *fixture, c *child, at step, what fault, sum *tally) bool {
	f.Helper()
	before := openFiles(f, c.cmd.Process.Pid)
	rule := fmt.Sprintf("%s:%s:when=%d", at.call, what.inject, at.n)
	tracer := c.trace(rule)
	answers := way.run(f, c)
	hit := struck(tracer.detach())
	for _, answer := range answers {
		sum.count(f, answer, at, what)
	}
	next := []func(){
		func() {
			require.NoError(f, f.newLock("a").lockOnce(), "another process, after %s: %v", rule, snapshot(f, f.dir))
		},
		func() {
			c.tell(way.order + " a")
			require.Equal(f, "locked a", c.next(), "the same process, after %s", rule)
			c.unlock("a")
		},
	}
	if sum.faults%2 == 0 {
		slices.Reverse(next)
	}
	for _, attempt := range next {
		attempt()
		f.mustHold()
	}
	if !at.leaks(what) {
		c.mustHaveOpen(before)
	}
	return hit
}

// lockOnce locks and unlocks what has to be free.
func (g *grip) lockOnce() error {
	if err := g.takeWithin(5 * time.Second); err != nil {
		return err
	}
	return g.lock.Unlock()
}

// operation is what an error says that it was about.
var operation = regexp.MustCompile(`\b(open|openat|stat|read|write|flock|rename|remove|close)\b`)

// count requires that an error says what failed, where, and why. That a file handle is stale
// means that the file is not there any more.
func (sum *tally) count(f *fixture, answer string, at step, what fault) {
	f.Helper()
	switch {
	case answer == "locked a" || answer == "unlocked a":
		return
	case strings.HasPrefix(answer, "failed a: filelocker: "):
		sum.failures++
	case strings.HasPrefix(answer, "kept a: filelocker: "):
		sum.kept++
	default:
		require.FailNow(f, "not an answer to a fault", "%q after %v %v", answer, at, what)
	}
	sum.messages[strings.ReplaceAll(answer, f.dir, "DIR")]++
	require.Contains(f, answer, f.dir, "after %v %v", at, what)
	if what.errno == unix.ESTALE && strings.Contains(answer, filelocker.ErrLockLost.Error()) {
		return
	}
	require.Contains(f, answer, what.errno.Error(), "after %v %v", at, what)
	require.Regexp(f, operation, answer, "after %v %v", at, what)
}
