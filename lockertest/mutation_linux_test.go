package lockertest_test

import (
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

// catches says which subtests have to catch a flaw. A scene is played within a process and,
// unless it says so, between processes too.
func catches() map[flaw][]string {
	return map[flaw][]string{
		excludesNobody: {"Exclusion", "HandOver"},
		oneLock:        {"within Exclusion", "ManyIDs", "HostileIDs"},
		foldsCase:      {"HostileIDs"},
		leaves:         {"Confinement"},
		ownProcess:     {"Processes/Exclusion", "Processes/HandOver"},
		outlivesCrash:  {"Processes/Crash", "Processes/CrashUnwaited", "Processes/CrashHeirs", "Processes/Restart", "Processes/Readers/Crash"},
		allInherit:     {"Processes/CrashHeirs"},
		robsStopped:    {"Processes/Pause"},
		reenters:       {"RelockWhileHeld"},
		usedOnce:       {"RelockAfterUnlock"},
		holdsFew:       {"ManyIDs"},
		deaf:           {"HandOver"},
		deafToOthers:   {"Processes/HandOver"},
		nosy:           {"NoRequest"},
		asksAll:        {"NoRequest"},
		nags:           {"RequestOnce"},
		haunts:         {"NoRequestAfterUnlock"},
		asksItself:     {"OwnRequest", "Processes/CrashRequest"},
		keepsAsking:    {"TimeoutLeavesNothing", "Readers/WriterGivesUp"},
		asksByName:     {"Processes/KilledWaiter"},
		callsBack:      {"BlockedCallback"},
		locksItselfOut: {"UnlockInCallback"},
		wrongError:     {"Timeout", "EndedContext"},
		deafToTheEnd:   {"within Timeout"},
		grantsEnded:    {"EndedContextFree"},
		takesAndFails:  {"CancelAtHandOver"},
		quitsForAll:    {"CancelAmongWaiters"},
		oversleeps:     {"WaitersServed"},
		panicsOnUnlock: {"SecondUnlock", "UnlockNeverLocked"},
		freesForeign:   {"SecondUnlockTakesNothing", "ForeignUnlock", "UnlockAfterTimeout"},
		isLenient:      {"StrictUnlock"},
		readsAlone:     {"Readers/Share"},
		readersAsk:     {"Readers/Share"},
		writesAside:    {"Readers/Writer"},
		asksOneByOne:   {"Readers/Writer", "Readers/WriterBesideReader"},
		readersFirst:   {"Readers/BehindWriter", "Readers/NoStarvation"},
		isNotInOrder:   {"InOrder"},
		isNeverIdle:    {"Idle"},
	}
}

// modelFactory is the one of a model without a flaw, and as patient as the others.
func modelFactory(f flaw) lockertest.Factory {
	return lockertest.Factory{
		New:     func(t testing.TB) handler.Locker { return newModel(uploads(t), f) },
		Claims:  []lockertest.Capability{lockertest.Crash, lockertest.Pause, lockertest.StrictUnlock},
		Reading: modelReading,
		Command: func(t testing.TB, l handler.Locker) *exec.Cmd { return again(t, "model:"+string(f), l.(model).dir) },
		Audit: func(t testing.TB, l handler.Locker, _ ...string) {
			auditOutside(t, l.(model).dir)
		},
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	lockertest.Run(t, modelFactory(none))
}

// TestFlawsAreCaught shows that each subtest can fail: there is a locker that does wrong what
// it is about, and that it catches.
func TestFlawsAreCaught(t *testing.T) {
	t.Parallel()
	names, caught := lockertest.Names(), make(map[string]bool)
	// They wait more than they work, so there can be more of them at once than of other tests.
	slots := make(chan struct{}, 8)
	var all sync.WaitGroup
	for f, scenes := range catches() {
		for _, scene := range scenes {
			name, only := strings.CutPrefix(scene, "within ")
			catchers := []string{name}
			if between := "Processes/" + name; !only && slices.Contains(names, between) {
				catchers = append(catchers, between)
			}
			for _, name := range catchers {
				caught[name] = true
				all.Go(func() {
					slots <- struct{}{}
					mustCatch(t, name, f)
					<-slots
				})
			}
		}
	}
	all.Wait()
	for _, name := range names {
		assert.True(t, caught[name], "no flaw is there for %s to catch", name)
	}
}

// mustCatch requires that the subtest fails over a locker with the flaw. It tries several
// times: some failures depend on chance, and how long others are waited for does not suffice
// on a machine that is busy. That a process does not start in time is nothing that it caught.
func mustCatch(t *testing.T, name string, f flaw) {
	factory := modelFactory(f)
	factory.Claims = append(factory.Claims, lockertest.InOrder, lockertest.Idle)
	factory.Patience = 300 * time.Millisecond
	if strings.HasPrefix(name, "Processes/") || name == "Idle" {
		factory.Patience = 2 * time.Second // processes have to start, and locks to be counted
	}
	var outcome, log string
	for range 5 {
		outcome, log = lockertest.Try(t, factory, name)
		started := !strings.Contains(log, "call Serve")
		if outcome == "failed" && started {
			break
		}
		t.Logf("%s over a locker that %s: %s", name, f, outcome)
		if !started {
			factory.Patience *= 2
		}
	}
	assert.Equal(t, "failed", outcome, "%s must catch a locker that %s\n%s", name, f, log)
	assert.NotContains(t, log, "call Serve", "%s must catch a locker that %s", name, f)
	t.Logf("%s catches a locker that %s: %.300s", name, f, log)
}
