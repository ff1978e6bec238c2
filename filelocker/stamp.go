package filelocker

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
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
	if !s.read(string(second)) && json.Unmarshal(second, &s) != nil || len(more) > 0 ||
		s.Version < stampVersion || s.Token == "" || s.Mode == "" || s.Keeps == "" {
		return stamp{}, errNoStamp
	}
	return s, nil
}

// read is json.Unmarshal for a line as append writes it, in a quarter of the time, and refuses all others: each
// takeover has one to read, mostly in a process that has just woken.
func (s *stamp) read(line string) bool {
	r := lineReader{rest: line}
	var p processInfo
	var h holdInfo
	p.Version = int(r.number(`{"v":`, 31))
	p.Host = r.text(`,"host":"`)
	p.Boot = r.text(`,"boot":"`)
	p.PIDNS = r.number(`,"pidns":`, 64)
	p.Start = r.time(`,"start":"`)
	h.Mode = mode(r.text(`,"mode":"`))
	h.Since = r.time(`,"since":"`)
	h.Token = r.text(`,"token":"`)
	h.Keeps = keeper(r.text(`,"keeps":"`))
	if r.failed || r.rest != "}" {
		return false
	}
	s.processInfo, s.holdInfo = p, h
	return true
}

// lineReader reads one value after the other, each behind what must come before it.
type lineReader struct {
	rest   string
	failed bool
}

func (r *lineReader) value(before string, end byte) string {
	value, ok := strings.CutPrefix(r.rest, before)
	n := strings.IndexByte(value, end)
	if !ok || n < 0 {
		r.failed = true
		return ""
	}
	r.rest = value[n:]
	return value[:n]
}

// text reads a string that stands for itself in JSON.
func (r *lineReader) text(before string) string {
	s := r.value(before, '"')
	r.rest = strings.TrimPrefix(r.rest, `"`)
	for _, c := range []byte(s) {
		r.failed = r.failed || c < ' ' || c > '~' || c == '\\'
	}
	return s
}

func (r *lineReader) number(before string, bits int) uint64 {
	s := r.value(before, ',')
	n, err := strconv.ParseUint(s, 10, bits)
	r.failed = r.failed || err != nil || s[0] == '0' && len(s) > 1
	return n
}

func (r *lineReader) time(before string) (t time.Time) {
	r.failed = t.UnmarshalText([]byte(r.text(before))) != nil || r.failed
	return t
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
