package filelocker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// stranger is somebody who does things to the files of a directory, two lockers there, and
// what is known of their locks.
type stranger struct {
	*fixture
	lockers []filelocker.FileLocker

	background sync.WaitGroup
	waiting    int                // how many were started in the background since it was last empty
	ctx        context.Context    // of those
	cancel     context.CancelFunc // ends their waiting
	enough     chan struct{}      // closed: who holds in the background gives back
	foreign    map[string]bool    // files with foreign content that nobody may remove

	mu      sync.Mutex
	touched map[string]int // how often the stranger did something to files of an upload
	moved   map[string]int // how often the name of its lock file was taken away or given
	movedAt map[string]time.Time
	wanted  map[string]int // how many have tried to lock it
	writers map[string]int // how many of these to write
	active  map[string]int // how many of them are not done with it
	held    []*heldLock
	errs    []error
}

// heldLock is one Lock, and its hold after that.
type heldLock struct {
	lock   handler.Lock
	id     string
	locker int
	reads  bool

	told chan struct{} // closed when the release callback is called first

	// Guarded by the stranger's mu.
	began         time.Time
	moved, wanted int         // the stranger's counts when it began
	contended     bool        // somebody else was at it then
	failed        bool        // Lock has returned an error
	calls         int         // of the release callback
	file          fs.FileInfo // what the name was when the lock had just been taken; nil if unsure
}

func (h *heldLock) String() string {
	return fmt.Sprintf("%s of locker %d, reading: %v", h.id, h.locker, h.reads)
}

func newStranger(f *fixture) *stranger {
	s := &stranger{fixture: f, enough: make(chan struct{})}
	s.lockers = []filelocker.FileLocker{filelocker.New(f.dir), filelocker.New(f.dir).Polling()}
	// The other one keeps the default, which it needs only where the kernel has no watch to give.
	s.lockers[1].HolderPollInterval, s.lockers[1].AcquirerPollInterval = time.Millisecond, time.Millisecond
	s.movedAt = make(map[string]time.Time)
	for _, count := range []*map[string]int{&s.touched, &s.moved, &s.wanted, &s.writers, &s.active} {
		*count = make(map[string]int)
	}
	s.renew()
	f.Cleanup(s.abandon)
	return s
}

// abandon ends what a test that has failed left running, which the next one would suffer from.
func (s *stranger) abandon() {
	s.cancel()
	if !s.Failed() {
		return
	}
	close(s.enough)
	s.mu.Lock()
	held := s.held
	s.held = nil
	s.mu.Unlock()
	for _, h := range held {
		_ = h.lock.Unlock()
	}
}

func (s *stranger) renew() {
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.waiting = 0
}

// busy says that something may go on in the background.
func (s *stranger) busy() bool { return s.waiting > 0 }

func (s *stranger) useLocks(what byte, which int) {
	reads := what == 'R' || what == 'Q'
	switch what {
	case 'L', 'R': // take it if it is free
		_, _ = s.take(s.ctx, s.wish(which, reads), 3*time.Millisecond)
	case 'W', 'Q', 'P': // wait for it; P gives it back when asked
		if s.waiting > 8 {
			return
		}
		s.waiting++
		ctx, enough, h := s.ctx, s.enough, s.wish(which, reads)
		s.background.Go(func() {
			got, _ := s.take(ctx, h, 20*time.Millisecond)
			if !got || what != 'P' {
				return
			}
			select {
			case <-h.told:
			case <-enough:
			}
			s.note(s.give(h, false))
		})
	case 'U': // give one back
		if h := s.anyHeld(which); h != nil {
			s.note(s.give(h, !s.busy()))
		}
	case 'A', 'X': // ask for one in vain, or get it
		if h := s.anyHeld(which >> 1); h != nil {
			s.askFor(h, which&1, what == 'X')
		}
	case 'T':
		s.mustBeTold()
	case 'Z':
		s.await(filelocker.Settled, "a lock is never listened for")
	case 'C':
		s.cancel()
		s.settle()
	case 'S':
		s.settle()
	}
}

// wish is a lock of one of the uploads that one of the lockers is to take.
func (s *stranger) wish(which int, reads bool) *heldLock {
	return &heldLock{id: string("ab"[which>>1&1]), locker: which & 1, reads: reads, told: make(chan struct{})}
}

func (s *stranger) anyHeld(which int) *heldLock {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 {
		return nil
	}
	return s.held[which%len(s.held)]
}

// settle waits for what goes on in the background.
func (s *stranger) settle() {
	s.Helper()
	close(s.enough)
	s.enough = make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.background.Wait()
	}()
	s.mustClose(done, "a waiter hangs")
	s.cancel()
	s.renew()
	s.check()
}

// await looks again and again until ok.
func (s *stranger) await(ok func() bool, what string) {
	s.Helper()
	for deadline := time.After(s.patience()); !ok(); {
		select {
		case <-deadline:
			require.FailNow(s, what)
		case <-time.After(100 * time.Microsecond):
		}
	}
}

func (s *stranger) mustClose(done <-chan struct{}, what string) {
	s.Helper()
	select {
	case <-done:
	case <-time.After(s.patience()):
		require.FailNow(s, what)
	}
}

// note keeps what went wrong.
func (s *stranger) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// check fails the test if anything went wrong.
func (s *stranger) check() {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NoError(s, errors.Join(s.errs...))
}
