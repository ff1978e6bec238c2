package filelocker

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The stamp says who holds a lock. Line 1 is the decimal PID and nothing else: all that the
// stock locker writes, and all that it reads (it removes a file with more words there).
// Line 2 is one JSON object. The kernel lock decides who is alive; the stamp is for people,
// for the stock locker, and for file systems without kernel locks.
type stamp struct {
	PID int `json:"-"`
	processInfo
	holdInfo
}

// processInfo is the same in all stamps of a process.
type processInfo struct {
	Version int       `json:"v"`
	Host    string    `json:"host"`
	Boot    string    `json:"boot"`  // boot ID of the kernel; empty where there is none
	PIDNS   uint64    `json:"pidns"` // PID namespace, 0 where there is none
	Start   time.Time `json:"start"` // start of the process, zero if unknown
}

// holdInfo is what differs.
type holdInfo struct {
	Mode  mode      `json:"mode"`
	Since time.Time `json:"since"` // when this process got the lock
	Token string    `json:"token"` // random, never used twice
	Keeps keeper    `json:"keeps"`
}

// mode is how the lock is held.
type mode string

const (
	exclusive mode = "exclusive"
	shared    mode = "shared"
)

func modeOf(isShared bool) mode {
	if isShared {
		return shared
	}
	return exclusive
}

// keeper is what keeps a lock: a kernel lock on its file, the file's modification time where
// there are no kernel locks, or both where other machines may not see the kernel lock.
type keeper string

const (
	kernelLock keeper = "kernel"
	heartbeat  keeper = "heartbeat"
	both       keeper = "both"
)

func (k keeper) locks() bool { return k == kernelLock || k == both }
func (k keeper) beats() bool { return k == heartbeat || k == both }

const (
	stampVersion = 1
	maxStamp     = 4096
	usualStamp   = 320 // of a process of Linux, whose host names have 64 bytes at most; as much is read first
)

// errNoStamp is the answer to content that no locker wrote.
var errNoStamp = errors.New("not a lock file's content")

// bare says that the stock locker wrote the stamp: a PID and nothing more.
func (s *stamp) bare() bool { return s.Version == 0 }

// append writes a stamp of this process by hand, as it is on the way of each lock: what json.Marshal would but for
// the zeros at the end of since.
func (h *holdInfo) append(b []byte) []byte {
	b = append(b, stampHead()...)
	b = append(append(b, `,"mode":"`...), h.Mode...)
	b = appendSince(append(b, `","since":"`...), h.Since)
	b = append(append(b, `","token":"`...), h.Token...)
	b = append(append(b, `","keeps":"`...), h.Keeps...)
	return append(b, "\"}\n"...)
}

// appendSince writes t as RFC 3339 with all digits, so that a later time takes as much room. The time
// package is quick at its own formats.
func appendSince(b []byte, t time.Time) []byte {
	second := len(b) + len(time.DateTime)
	b = t.AppendFormat(b, time.RFC3339)
	zone := string(b[second:])
	b = append(b[:second], '.')
	for digit := 100_000_000; digit > 0; digit /= 10 {
		b = append(b, '0'+byte(t.Nanosecond()/digit%10))
	}
	return append(b, zone...)
}

// parseStamp accepts what append writes, what the stock locker writes, and nothing else.
// A stamp of a later version is accepted too, with the fields that are known.
func parseStamp(b []byte) (stamp, error) {
	first, rest, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.ParseInt(string(first), 10, 32)
	if err != nil || pid <= 0 || strconv.FormatInt(pid, 10) != string(first) {
		return stamp{}, errNoStamp
	}
	s := stamp{PID: int(pid)}
	if len(rest) == 0 {
		return s, nil
	}
	second, more, _ := bytes.Cut(rest, []byte("\n"))
	if json.Unmarshal(second, &s) != nil || len(more) > 0 ||
		s.Version < stampVersion || s.Token == "" || s.Mode == "" || s.Keeps == "" {
		return stamp{}, errNoStamp
	}
	return s, nil
}

// self is this process in a stamp.
var self = sync.OnceValue(func() processInfo {
	host, _ := os.Hostname()
	start, _ := processStart(os.Getpid())
	return processInfo{Version: stampVersion, Host: host, Boot: bootID(), PIDNS: pidNamespace(), Start: start}
})

// stampHead is what all stamps of this process begin with.
var stampHead = sync.OnceValue(func() string {
	line, _ := json.Marshal(self()) // a struct of strings, numbers and a time after 1970 cannot fail
	return strconv.Itoa(os.Getpid()) + "\n" + strings.TrimSuffix(string(line), "}")
})

func newHoldInfo(m mode, k keeper) holdInfo {
	var token [12]byte
	_, _ = rand.Read(token[:]) // never fails (crypto/rand, since Go 1.24)
	return holdInfo{Mode: m, Since: time.Now().UTC(), Token: hex.EncodeToString(token[:]), Keeps: k}
}

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
