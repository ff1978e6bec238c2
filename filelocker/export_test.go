package filelocker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

// What the tests in package filelocker_test need of the inside.

// RoundTrip parses b as a stamp and writes it again.
func RoundTrip(b []byte) ([]byte, error) {
	s, err := parseStamp(b)
	if err != nil {
		return nil, err
	}
	first := strconv.Itoa(s.PID) + "\n"
	if s.bare() {
		return []byte(first), nil
	}
	line, err := json.Marshal(s)
	return []byte(first + string(line) + "\n"), err
}

// ReadLine reads the second line of a stamp by hand, if it can, and by encoding/json.
func ReadLine(line string) (byHand any, ok bool, byJSON any, err error) {
	var hand, std stamp
	ok = hand.read(line)
	err = json.Unmarshal([]byte(line), &std)
	return hand, ok, std, err
}

// NewStamp is the stamp that this process would write now.
func NewStamp() []byte {
	s := newHoldInfo(exclusive, kernelLock)
	return s.append(nil)
}

// Judge is the verdict on a lock file, as a word and a reason.
func Judge(content []byte, modified time.Time, locked, remote bool) (liveness, why string, silent time.Duration) {
	v := judge(content, modified, locked, remote)
	return v.liveness.String(), v.why, v.silent
}

// PlaceOf is where an upload's lock files are.
func PlaceOf(id string, flat bool) (folder, name string, err error) {
	p, err := placeOf(id, flat)
	return p.folder, p.name, err
}

// Polling is l with the kernel's reports turned off.
func (l FileLocker) Polling() FileLocker {
	l.poll = true
	return l
}

// LineTrust is how long a waiter leaves it to the first in line to look.
const LineTrust = lineTrust

// Hasty is l in a process that is busy in the directory, or not, whatever else it does there.
func (l FileLocker) Hasty(hasty bool) FileLocker {
	l.hasty = hasty
	return l
}

// Loyal is l for whom there is nothing but the line to tell it that it is its turn.
func (l FileLocker) Loyal(loyal bool) FileLocker {
	l.loyal = loyal
	return l
}

// Quiet says that this process has no directory open and no timer running.
func Quiet() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return len(process.byID) == 0 && process.timer == nil
}

// How long a folder and a Path stay open when nobody uses them.
const (
	Linger       = linger
	LingerInRoot = lingerInRoot
)

// CloseUnused closes what is open and not used now, and not after some time. The timer that would have done
// it must not fire any more: a test with a clock of its own may have begun by then.
func CloseUnused() {
	process.mu.Lock()
	for process.timer != nil && !process.timer.Stop() { // its sweep is about to run
		process.mu.Unlock()
		runtime.Gosched()
		process.mu.Lock()
	}
	process.timer = nil
	unused := process.sweepAt(monotonic() + instant(lingerInRoot))
	process.mu.Unlock()
	closeAll(unused)
}

// Reading is ctx for a request that only reads, as ShareReads has it.
func Reading(ctx context.Context) context.Context {
	q, _, _ := interrupt.New(ctx, nil, httptest.NewRequest(http.MethodHead, "/", nil))
	q.Share()
	return q
}

// TempNames are the names that lock files of an upload are made under, first that for who has no request.
func TempNames(upload string) (names []string) {
	for n := range maxStages {
		names = append(names, tempName(upload, n))
	}
	return names
}
