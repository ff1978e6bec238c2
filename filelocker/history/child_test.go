//go:build linux

package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// childEnv holds the childSpec of a recorded process.
const childEnv = "FILELOCKER_HISTORY_CHILD"

// childSpec is what a recorded process is to do, until its standard input ends.
type childSpec struct {
	Dir     string
	Journal string
	Seed    uint64
	Number  int
	Longest time.Duration // of an ordinary hold
	Flaw    string        // makes the locker a wrong one
}

const workersEach = 4

// ids are the uploads, one of them in a folder.
var ids = []string{"a", "b", "c", "d", "folder/e"}

func runChild(line string) int {
	var spec childSpec
	if err := json.Unmarshal([]byte(line), &spec); err != nil {
		fmt.Fprintln(os.Stderr, "recorded process:", err)
		return 2
	}
	j, err := openJournal(spec.Journal)
	if err != nil {
		fmt.Fprintln(os.Stderr, "recorded process:", err)
		return 2
	}
	var locker handler.Locker = filelocker.New(spec.Dir)
	if spec.Flaw != "" {
		locker = flawed{locker, spec.Flaw}
	}
	ctx, stop := context.WithCancel(context.Background())
	var holds atomic.Int64
	var workers sync.WaitGroup
	for n := range workersEach {
		w := &worker{
			n: n, locker: locker, journal: j, holds: &holds, longest: spec.Longest,
			rng: rand.New(rand.NewPCG(spec.Seed, uint64(spec.Number*workersEach+n))),
		}
		workers.Go(func() { w.run(ctx) })
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	workers.Wait()
	return 0
}

// flawed is a locker that is wrong in one way, which the check has to find.
type flawed struct {
	handler.Locker
	flaw string
}

const (
	flawImpatient = "impatient" // takes a lock when its context ends
	flawSilent    = "silent"    // does not tell of a lost lock
)

func (l flawed) NewLock(id string) (handler.Lock, error) {
	lock, err := l.Locker.NewLock(id)
	return &flawedLock{inner: lock, flaw: l.flaw}, err
}

type flawedLock struct {
	inner handler.Lock
	flaw  string
	taken bool
}

func (l *flawedLock) Lock(ctx context.Context, release func()) error {
	err := l.inner.Lock(ctx, release)
	if l.flaw == flawImpatient && errors.Is(err, handler.ErrLockTimeout) {
		l.taken = true
		return nil
	}
	return err
}

func (l *flawedLock) Unlock() error {
	if l.taken {
		l.taken = false
		return nil
	}
	err := l.inner.Unlock()
	if l.flaw == flawSilent && outcomeOf(err, false) == lost {
		return nil
	}
	return err
}
