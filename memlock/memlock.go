// Package memlock is a best-effort lock in memcached.
//
// # What it is
//
// One entry per lock, under the lock's key, in a memcached that all contenders use. Its
// content names the holder: the client ID, and a random token for each call, so that two
// calls with one client ID exclude each other as well. It is made by add, refreshed about
// every second while the holder's function runs, and lives for 16 s after that. It is only
// ever changed by compare-and-swap: nobody's entry is removed or prolonged by anybody else.
//
// # Guarantee
//
// As long as memcached keeps the entry for its lifetime, no two functions run under one key
// with a live context. The context of a function is cancelled at the latest 12 s after the
// last refresh known to have worked was sent, by the monotonic clock of its own machine, and
// so at least 3 s before anybody else can get the lock, memcached counting in whole seconds.
//
// # Not guaranteed
//
// Memcached is a cache. It drops entries when memory is short, when it restarts and when it
// is told to, and a client whose servers change looks for the key elsewhere. Then a second
// holder can start at once, and the first one learns of it when it is refreshed next, as a
// rule within a second or so. A function that does not heed its context runs on. A suspended
// machine's clock may stand still, and its function learns that it lost the lock when it is
// refreshed, about a second after waking up. Whoever needs more than a best effort needs
// another lock: this one saves work that would be done twice, it does not make doing it twice
// harmless.
//
// Waiting is up to the caller: there is one attempt and no queue.
//
// # Crash
//
// The entry of a process that died lives on for up to 16 s, in which nobody gets the lock.
// So does one whose release or whose withdrawn attempt did not reach the server.
package memlock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

var (
	// ErrFailedToLock says that the function never ran. What is joined to it says why:
	// [memcache.ErrNotStored] if somebody else holds the lock.
	ErrFailedToLock = errors.New("failed to lock")

	// ErrEmptyClientID is returned for an empty client ID. It matches [ErrFailedToLock].
	ErrEmptyClientID = fmt.Errorf("%w: empty client ID", ErrFailedToLock)

	// ErrLockLost says that the lock was lost while the function ran. It is also the cause
	// that the function's context was cancelled with, see [context.Cause].
	ErrLockLost = errors.New("lock lost")
)

const (
	// lifetime is that of the entry in memcached, in whole seconds.
	lifetime = 16 * time.Second

	// margin is how long before the end of the lifetime the function's context is cancelled.
	// Memcached counts in ticks of a second, so that an entry can be gone a second early.
	margin = 4 * time.Second

	// interval is the mean time between two refreshes. Each is up to a quarter off.
	interval = time.Second

	// attempt is how long to wait for a refresh before another one is tried, and attempts is
	// how many may be without an answer. A late answer counts like any other.
	attempt  = 2 * time.Second
	attempts = 8

	// release is how long to wait for the release of the lock.
	release = 3 * time.Second
)

type clientKey struct{}

// NewContext returns a context with the memcached that [TryWithLock] uses.
//
// The Timeout of the client bounds each exchange with the server, and for how long one that
// the server does not answer lingers on after TryWithLock has returned.
func NewContext(ctx context.Context, client *memcache.Client) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// TryWithLock runs f if nobody else holds the lock of that key, and gives the lock back when
// f has returned or panicked. A panic goes on.
//
// The context of f is cancelled when ctx is, and when the lock is lost: because the entry is
// gone or another's, or because it could not be refreshed early enough. The lock stays held,
// and is refreshed, until f has returned.
//
// It returns the error of f as it is, or joined with [ErrLockLost] if the lock was lost. If f
// never ran it returns [ErrFailedToLock] joined with the cause: at once if the lock is held,
// and when ctx ends if the server does not answer. A clientID must not be empty, which is
// looked at first; what else it is serves people who look into memcached.
//
// After f, TryWithLock waits for memcached for 3 s at most, whatever became of ctx.
func TryWithLock(ctx context.Context, key, clientID string, f func(context.Context) error) error {
	if clientID == "" {
		return ErrEmptyClientID
	}
	client, _ := ctx.Value(clientKey{}).(*memcache.Client)
	switch {
	case client == nil:
		return failed(errors.New("no memcached client in the context, see NewContext"))
	case f == nil:
		return failed(errors.New("no function to run"))
	case key == "": // the client would take it, and the server the value for a command
		return failed(fmt.Errorf("empty key: %w", memcache.ErrMalformedKey))
	case ctx.Err() != nil:
		return failed(ended(ctx))
	}
	e := newEntry(client, key, clientID)
	sent, err := e.obtain(ctx)
	if err != nil {
		return failed(err)
	}
	return e.hold(ctx, sent, f)
}

func failed(cause error) error { return fmt.Errorf("%w: %w", ErrFailedToLock, cause) }

// ended is why the context ended: its error, and the cause if that is another one.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
