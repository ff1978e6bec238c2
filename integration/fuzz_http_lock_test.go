package integration_test

import (
	"context"
	"errors"
	"slices"

	"github.com/tus/tusd/v2/pkg/handler"
)

// readsKey is the context key under which FuzzHTTP keeps whether a request only reads.
type readsKey struct{}

// noting notes who holds the locks of FuzzHTTP's server, and how many could not be had in time.
type noting struct {
	handler.Locker
	s *fuzzed
}

func (n noting) NewLock(id string) (handler.Lock, error) {
	lock, err := n.Locker.NewLock(id)
	return &notingLock{of: lock, id: id, s: n.s}, err
}

type notingLock struct {
	of    handler.Lock
	id    string
	reads bool
	s     *fuzzed
}

func (l *notingLock) Lock(ctx context.Context, release func()) error {
	err := l.of.Lock(ctx, release)
	if errors.Is(err, handler.ErrLockTimeout) {
		l.s.timeouts.Add(1)
	}
	if err != nil {
		return err
	}
	l.reads, _ = ctx.Value(readsKey{}).(bool)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	others := l.s.holders[l.id]
	if len(others) > 0 && (!l.reads || slices.Contains(others, false)) {
		l.s.faults = append(l.s.faults, "two hold the lock of "+l.id)
	}
	l.s.holders[l.id] = append(others, l.reads)
	return nil
}

func (l *notingLock) Unlock() error {
	l.s.mu.Lock()
	others := l.s.holders[l.id]
	if i := slices.Index(others, l.reads); i >= 0 {
		l.s.holders[l.id] = slices.Delete(others, i, i+1)
	}
	l.s.mu.Unlock()
	return l.of.Unlock()
}
