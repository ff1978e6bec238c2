//go:build linux

package history_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// What a worker calls.
const (
	opLock   = "lock"
	opUnlock = "unlock"
	opAgain  = "unlock again"
)

// What a call returned. Anything else is a failure of the locker.
const (
	done    = "done"
	timeout = "timeout"
	lost    = "lost"
	notHeld = "not held"
)

// record is one call, written before it without and after it with what it returned.
type record struct {
	Op      string `json:"op"`
	Hold    int    `json:"hold"` // counts the calls of Lock in the process
	Worker  int    `json:"worker"`
	ID      string `json:"id"`
	Shared  bool   `json:"shared,omitempty"`
	Call    int64  `json:"call"`
	Return  int64  `json:"return,omitempty"`
	Outcome string `json:"outcome,omitempty"`
}

// now is in nanoseconds, and the same clock in all processes of the machine.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// journal is where a process writes its records.
type journal struct {
	mu sync.Mutex // a kill in the middle of a write must not tear two records
	f  *os.File
}

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	return &journal{f: f}, err
}

func (j *journal) write(r record) {
	line, err := json.Marshal(r)
	if err == nil {
		j.mu.Lock()
		_, err = j.f.Write(append(line, '\n'))
		j.mu.Unlock()
	}
	if err != nil {
		panic(err)
	}
}

// around records the call f.
func (j *journal) around(r record, f func() string) string {
	r.Call = now()
	j.write(r)
	r.Outcome = f()
	r.Return = now()
	j.write(r)
	return r.Outcome
}

func outcomeOf(err error, contextEnded bool) string {
	switch {
	case err == nil:
		return done
	case reflect.DeepEqual(err, handler.ErrLockTimeout) && contextEnded:
		return timeout
	case errors.Is(err, filelocker.ErrLockLost):
		return lost
	case errors.Is(err, filelocker.ErrNotHeld):
		return notHeld
	}
	return "error: " + err.Error()
}

// readJournal returns the calls in the order in which they began. The last line of a killed
// process may be torn, and was not finished then.
func readJournal(path string) ([]record, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	type call struct {
		op   string
		hold int
	}
	var records []record
	begun := make(map[call]int)
	for {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			return records, nil
		}
		content = rest
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		key := call{r.Op, r.Hold}
		i, known := begun[key]
		switch {
		case known && r.Return > 0 && records[i].Return == 0:
			records[i] = r
		case !known && r.Return == 0:
			begun[key] = len(records)
			records = append(records, r)
		default:
			return nil, fmt.Errorf("%s: %q does not follow from what is before it", path, line)
		}
	}
}
