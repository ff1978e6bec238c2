package filelocker

import (
	"fmt"
	"os"
	"time"
)

// liveness of a holder. Unknown never frees a lock.
type liveness int

const (
	unknown liveness = iota
	alive
	dead
)

func (l liveness) String() string { return [...]string{"unknown", "alive", "dead"}[l] }

// verdict is what is known of the holder of a lock file, and why.
type verdict struct {
	liveness
	why string
	// content is what the file holds. A waiter mostly wants to know no more than whether that has changed,
	// and to take a stamp apart takes 60 µs in a process that has just woken (traced).
	content []byte
	// silent is how long the file must not have been touched, by the file system's own
	// clock, for dead to be true.
	silent time.Duration
	holder *stamp // what judging has made of the content; nil without that, or if it is none
}

// stamp is that in the file; zero if there is none.
func (v *verdict) stamp() *stamp {
	if v.holder != nil {
		return v.holder
	}
	s, _ := parseStamp(v.content)
	return &s
}

const (
	beatEvery  = 10 * time.Second // how often a holder touches a file that a heartbeat keeps
	beatLost   = 30 * time.Second // a heartbeat older than this is none
	emptyGrace = 10 * time.Second // how long creating a file may take
	startSlack = time.Second      // how far a file's time and a process's start may be off

	// ownSlack is startSlack for the own PID, which a restarted container finds in the lock of
	// its predecessor: a stock locker in this very process would be the only other reading.
	// The kernel's coarse clock and the ticks of a start are off by 20 ms at most.
	ownSlack = 100 * time.Millisecond
)

// judge decides on the holder of an open lock file with the given content, last modified at
// modified. locked says that the caller has the kernel lock of this very file; remote that
// other machines reach the file without this kernel.
func judge(content []byte, modified time.Time, locked, remote bool) verdict {
	if len(content) == 0 {
		return verdict{liveness: dead, why: "left empty by one who was creating it", silent: emptyGrace}
	}
	s, err := parseStamp(content)
	switch {
	case err != nil:
		return verdict{liveness: unknown, why: err.Error()}
	case s.bare():
		l, why := judgePID(s.PID, modified)
		return verdict{liveness: l, why: why, holder: &s}
	case locked && s.Keeps.locks() && (!remote || s.sameBoot() && judgeProcess(&s) != alive):
		// One kernel sees all of its kernel locks, so a free one has no holder. On FUSE it can be
		// that of another name of the file, such as A.lock for a.lock (found with exfat-fuse).
		return verdict{liveness: dead, why: "its kernel lock is free", holder: &s}
	case !s.Keeps.beats():
		return verdict{liveness: unknown, why: "its kernel lock cannot be tried here", holder: &s}
	}
	switch l := judgeProcess(&s); {
	case l == dead:
		return verdict{liveness: dead, why: "its process is gone from this machine", holder: &s}
	case l == alive && !(locked && s.Keeps.locks()): // whatever the clocks say of its heartbeat
		return verdict{liveness: alive, why: "its process is there, on this machine", holder: &s}
	}
	return verdict{liveness: dead, why: "its heartbeat has stopped", holder: &s, silent: beatLost}
}

func (s *stamp) sameBoot() bool { return s.Boot != "" && s.Boot == self().Boot }

// judgeProcess decides on the process that wrote s, if it was one of this boot and this PID
// namespace: then its PID is its own, free, or somebody else's.
func judgeProcess(s *stamp) liveness {
	if !s.sameBoot() || s.PIDNS == 0 || s.PIDNS != self().PIDNS {
		return unknown
	}
	if l := probePID(s.PID); l != alive {
		return l
	}
	start, err := processStart(s.PID)
	switch {
	case err != nil || s.Start.IsZero():
		return unknown
	case start.Sub(s.Start).Abs() > startSlack:
		return dead
	case s.PID == os.Getpid() && !process.holds(s.Token): // its removal failed
		return dead
	}
	return alive
}

// judgePID decides on a stock holder, of whom the PID is all there is.
func judgePID(pid int, modified time.Time) (liveness, string) {
	if l := probePID(pid); l != alive {
		return l, fmt.Sprintf("process %d is %s", pid, map[liveness]string{dead: "not there", unknown: "out of sight"}[l])
	}
	slack := startSlack
	if pid == os.Getpid() {
		slack = ownSlack
	}
	start, err := processStart(pid)
	if err == nil && start.After(modified.Add(slack)) {
		return dead, fmt.Sprintf("process %d started after the lock was taken", pid)
	}
	return alive, fmt.Sprintf("process %d is there", pid)
}
