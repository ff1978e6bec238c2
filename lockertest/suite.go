package lockertest

import (
	"slices"

	"github.com/tus/tusd/v2/pkg/handler"
)

// Needs that follow from the fields of the Factory.
const (
	needsCommand Capability = "Command"
	needsReading Capability = "Reading"
	needsAudit   Capability = "Audit"
)

// subtest is one of those that Run runs.
type subtest struct {
	name  string
	needs []Capability
	run   func(c *check)
}

// A scene plays between two lockers over the same locks.
type scene struct {
	name string
	play func(c *check, a, b handler.Locker)
}

// within plays the scene in one process.
func (s scene) within(needs ...Capability) subtest {
	return subtest{s.name, needs, func(c *check) { s.play(c, c.locker, c.locker) }}
}

// between plays the scene between this process and another, in both roles, and between two
// others.
func (s scene) between(needs ...Capability) subtest {
	return subtest{"Processes/" + s.name, append(needs, needsCommand), func(c *check) {
		p, q := c.start(), c.start()
		s.play(c, c.locker, p)
		s.play(c, p, c.locker)
		s.play(c, p, q)
	}}
}

// alone plays in one process, and processes needs others.
func alone(name string, play func(c *check), needs ...Capability) subtest {
	return subtest{name, needs, play}
}

func processes(name string, play func(c *check), needs ...Capability) subtest {
	return subtest{"Processes/" + name, append(needs, needsCommand), play}
}

// subtests lists what Run runs, in this order.
func subtests() []subtest {
	both := []scene{
		{"Exclusion", exclusion},
		{"HandOver", handOver},
		{"WaitersServed", waitersServed},
		{"RequestOnce", requestOnce},
		{"NoRequest", noRequest},
		{"NoRequestAfterUnlock", noRequestAfterUnlock},
		{"OwnRequest", ownRequest},
		{"Timeout", timeout},
		{"TimeoutLeavesNothing", timeoutLeavesNothing},
		{"CancelAmongWaiters", cancelAmongWaiters},
		{"CancelAtHandOver", cancelAtHandOver},
		{"SecondUnlockTakesNothing", secondUnlockTakesNothing},
		{"ForeignUnlock", foreignUnlock},
		{"UnlockAfterTimeout", unlockAfterTimeout},
		{"UnlockInCallback", unlockInCallback},
		{"BlockedCallback", blockedCallback},
	}
	readers := []scene{
		{"Readers/Share", readersShare},
		{"Readers/Writer", readersAndWriter},
		{"Readers/WriterBesideReader", writerBesideReader},
		{"Readers/BehindWriter", readersBehindWriter},
		{"Readers/NoStarvation", readersDoNotStarve},
		{"Readers/WriterGivesUp", writerGivesUp},
	}
	list := []subtest{
		alone("InOrder", inOrder, InOrder),
		alone("EndedContext", endedContext),
		alone("EndedContextFree", endedContextFree),
		alone("RelockWhileHeld", relockWhileHeld),
		alone("RelockAfterUnlock", relockAfterUnlock),
		alone("SecondUnlock", secondUnlock),
		alone("UnlockNeverLocked", unlockNeverLocked),
		alone("StrictUnlock", strictUnlock, StrictUnlock),
		alone("HostileIDs", hostileIDs),
		alone("Confinement", confinement, needsAudit),
		alone("ManyIDs", manyIDs),
		alone("Idle", idle, Idle),
		processes("Crash", crash, Crash),
		processes("CrashUnwaited", crashUnwaited, Crash),
		processes("CrashRequest", crashRequest, Crash),
		processes("CrashHeirs", crashHeirs, Crash),
		processes("KilledWaiter", killedWaiter, Crash),
		processes("Restart", restart, Crash),
		processes("Pause", pause, Pause),
		processes("Readers/Crash", readersCrash, Crash, needsReading),
	}
	for _, s := range both {
		list = append(list, s.within(), s.between())
	}
	for _, s := range readers {
		list = append(list, s.within(needsReading), s.between(needsReading))
	}
	slices.SortStableFunc(list, func(a, b subtest) int { return a.place() - b.place() })
	return list
}

// place puts what is told of one process first: what fails there fails elsewhere too.
func (s subtest) place() int {
	if slices.Contains(s.needs, needsCommand) {
		return 1
	}
	return 0
}
