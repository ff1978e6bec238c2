package filelocker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// take locks h. A failure is as good, if it is clear.
func (s *stranger) take(ctx context.Context, h *heldLock, patience time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if h.reads {
		ctx = filelocker.Reading(ctx)
	}
	s.begin(h)
	lock, err := s.lockers[h.locker].NewLock(h.id)
	if err == nil {
		h.lock = lock
		err = lock.Lock(ctx, func() { s.called(h) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		h.failed = true
		s.active[h.id]--
		if !errors.Is(err, handler.ErrLockTimeout) && !strings.Contains(err.Error(), s.dir) {
			s.errs = append(s.errs, fmt.Errorf("lock %v: an error that names no file: %w", h, err))
		}
		return false, err
	}
	if s.intact(h) {
		h.file, _ = os.Lstat(s.path(h.id + ".lock"))
	}
	for _, other := range s.held {
		if other.id == h.id && !(other.reads && h.reads) && s.intact(other) && s.intact(h) {
			s.errs = append(s.errs, fmt.Errorf("two holders: %v, %v", other, h))
		}
	}
	s.held = append(s.held, h)
	return true, nil
}

func (s *stranger) begin(h *heldLock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.contended = s.active[h.id] > 0
	s.active[h.id]++
	s.wanted[h.id]++
	if !h.reads {
		s.writers[h.id]++
	}
	h.moved, h.wanted, h.began = s.moved[h.id], s.wanted[h.id], time.Now()
}

// called is the release callback of h.
func (s *stranger) called(h *heldLock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.calls++
	if h.calls == 1 {
		close(h.told)
	}
	reason := s.touched[h.id] > 0 || h.contended || s.wanted[h.id] > h.wanted
	if h.reads {
		reason = s.touched[h.id] > 0 || s.writers[h.id] > 0
	}
	if h.calls > 1 || h.failed || !reason {
		s.errs = append(s.errs, fmt.Errorf("%v: call %d of the release callback, with a reason: %v, after a Lock that failed: %v", h, h.calls, reason, h.failed))
	}
}

// justNow is how long a loss may go unnoticed: what this process has looked at counts for a
// millisecond, and a report takes its time.
const justNow = 20 * time.Millisecond

// intact says that the name of the lock file was left alone since some time before h was locked.
func (s *stranger) intact(h *heldLock) bool {
	return s.moved[h.id] == h.moved && h.began.Sub(s.movedAt[h.id]) > justNow
}

// owns says that the name of the lock file is the one that h got.
func (s *stranger) owns(h *heldLock) bool {
	at, err := os.Lstat(s.path(h.id + ".lock"))
	return err == nil && h.file != nil && os.SameFile(at, h.file)
}

// mustBeTold waits until all who have lost their lock know it.
func (s *stranger) mustBeTold() {
	s.Helper()
	s.mu.Lock()
	held := slices.Clone(s.held)
	s.mu.Unlock()
	for _, h := range held {
		if h.file == nil || s.owns(h) {
			continue
		}
		select {
		case <-h.told:
		case <-time.After(s.patience()):
			s.mu.Lock()
			still := slices.Contains(s.held, h)
			s.mu.Unlock()
			require.False(s, still, "%v is lost, and its holder was not told", h)
		}
	}
}

// give gives h back, and says what is wrong with that; quiet: nobody else is at work.
func (s *stranger) give(h *heldLock, quiet bool) error {
	s.mu.Lock()
	i := slices.Index(s.held, h)
	if i < 0 {
		s.mu.Unlock()
		return nil
	}
	s.held = slices.Delete(s.held, i, i+1)
	intact := s.intact(h)
	s.mu.Unlock()
	name := s.path(h.id + ".lock")
	before, _ := os.Lstat(name)
	err := h.lock.Unlock()
	after, _ := os.Lstat(name)
	defer s.left(h)

	if again := h.lock.Unlock(); !errors.Is(again, filelocker.ErrNotHeld) {
		return fmt.Errorf("a second unlock of %v: %w", h, again)
	}
	switch lost := errors.Is(err, filelocker.ErrLockLost); {
	case quiet && after != nil && s.undisturbed(h.id):
		return fmt.Errorf("unlock of %v left its file", h)
	case intact && err != nil:
		return fmt.Errorf("unlock of %v, whose name was left alone: %w", h, err)
	case err != nil && !lost:
		return fmt.Errorf("unlock %v: %w", h, err)
	case !quiet || h.reads || h.file == nil || before != nil && os.SameFile(before, h.file):
		return nil
	case !lost:
		return fmt.Errorf("unlock of %v, whose file was gone, says nothing", h)
	case before != nil && (after == nil || !os.SameFile(before, after)):
		return fmt.Errorf("unlock of %v removed its successor's file", h)
	}
	return nil
}

func (s *stranger) left(h *heldLock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[h.id]--
}

// askFor has a locker wait for the lock of h without end, sees that h is told, and gives the
// lock over or calls it off.
func (s *stranger) askFor(h *heldLock, locker int, over bool) {
	s.Helper()
	s.mu.Lock()
	alone := !slices.ContainsFunc(s.held, func(o *heldLock) bool { return o != h && o.id == h.id })
	ready := s.intact(h) && s.owns(h)
	s.mu.Unlock()
	if !ready || over && (!alone || s.busy()) {
		return
	}
	asks := &heldLock{id: h.id, locker: locker, told: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type result struct {
		got bool
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := s.take(ctx, asks, s.patience())
		done <- result{got, err}
	}()
	if locker == h.locker || s.askable(h.id) {
		s.mustClose(h.told, "nobody tells the holder that somebody waits")
	}
	if over {
		require.NoError(s, s.give(h, false))
		r := receive(s.fixture, done, "the lock was not handed over")
		require.NoError(s, r.err)
		return
	}
	cancel()
	r := receive(s.fixture, done, "a waiter does not heed its context")
	if !r.got {
		require.Equal(s, handler.ErrLockTimeout, r.err)
	}
	s.mu.Lock()
	untouched := s.touched[h.id] == 0
	s.mu.Unlock()
	gone := func() bool { _, err := os.Lstat(s.path(h.id + ".stop")); return errors.Is(err, fs.ErrNotExist) }
	switch message := "the request of one who does not wait any more"; {
	case !untouched || s.busy():
	case h.reads, r.got: // whose look at it, if it stands in the way just now, takes it along
		s.await(gone, message)
	default:
		require.True(s, gone(), message)
	}
	s.check()
}

// undisturbed says that nobody holds an upload's lock, and that its files were never touched.
func (s *stranger) undisturbed(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touched[id] == 0 && !slices.ContainsFunc(s.held, func(h *heldLock) bool { return h.id == id })
}

// askable says that nothing keeps a request of another process from being made.
func (s *stranger) askable(id string) bool {
	if _, err := os.Lstat(s.path(id + ".stop.info")); err == nil {
		return false
	}
	info, err := os.Lstat(s.path(id + ".stop"))
	return err != nil || info.Mode().IsRegular() && info.Size() == 0
}
