package memlock

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// rounds is how often an exchange starts again because the entry changed in the middle of it.
const rounds = 5

// gone is an expiry in the past: what is stored with it is gone at once.
const gone = -1

var errHeld = fmt.Errorf("somebody else holds the lock: %w", memcache.ErrNotStored)

// entry is one call's entry in memcached. No other call has the same value.
type entry struct {
	client *memcache.Client
	key    string
	value  []byte
}

func newEntry(client *memcache.Client, key, clientID string) *entry {
	return &entry{client, key, []byte(clientID + " " + rand.Text())}
}

// obtain makes the entry, and returns the time before which it began to live.
//
// The client knows no contexts. An exchange that outlives ctx goes on by itself until the
// client's Timeout ends it, and takes back what it may have done.
func (e *entry) obtain(ctx context.Context) (sent time.Time, err error) {
	type result struct {
		sent time.Time
		err  error
	}
	results := make(chan result)
	go func() {
		sent, err := e.take()
		select {
		case results <- result{sent, err}:
			if err == nil || errors.Is(err, memcache.ErrNotStored) {
				return
			}
		case <-ctx.Done():
		}
		// An add without an answer may have been carried out.
		_ = e.free()
	}()
	select {
	case r := <-results:
		return r.sent, r.err
	case <-ctx.Done():
		return time.Time{}, ended(ctx)
	}
}

// take makes the entry where there is none or an empty one, which is how some release a lock.
// It asks again only if a free entry changed meanwhile.
func (e *entry) take() (sent time.Time, err error) {
	for range rounds {
		sent = time.Now()
		err = e.client.Add(&memcache.Item{Key: e.key, Value: e.value, Expiration: int32(lifetime / time.Second)})
		if !errors.Is(err, memcache.ErrNotStored) {
			return sent, err
		}
		item, err := e.client.Get(e.key)
		switch {
		case errors.Is(err, memcache.ErrCacheMiss):
			continue
		case err != nil:
			return sent, err
		case len(item.Value) > 0:
			return sent, errHeld
		}
		if sent, err = e.store(item, e.value, int32(lifetime/time.Second)); !changed(err) {
			return sent, err
		}
	}
	return sent, errHeld
}

// refresh begins another lifetime of the entry, unless quit is closed meanwhile. It returns
// [ErrLockLost] if the entry is gone or another's, and any other error if that is not known.
func (e *entry) refresh(quit <-chan struct{}) (sent time.Time, err error) {
	return e.swap(e.value, int32(lifetime/time.Second), quit)
}

// free gives the lock back. Its errors are those of refresh.
//
// The value left is empty, for servers that take a past expiry for none. It asks twice,
// because the client does not know which of its idle connections are dead. If the second
// answer is that the entry is gone, the first request has arrived.
func (e *entry) free() error {
	_, err := e.swap(nil, gone, nil)
	if err == nil || errors.Is(err, ErrLockLost) {
		return err
	}
	if _, again := e.swap(nil, gone, nil); again == nil || errors.Is(again, ErrLockLost) {
		return nil
	}
	return err
}

// swap changes the entry if it is this call's. That it changed between the two steps may be
// the doing of an earlier swap without an answer, so look again.
func (e *entry) swap(value []byte, expiration int32, quit <-chan struct{}) (sent time.Time, err error) {
	for range rounds {
		item, err := e.client.Get(e.key)
		switch {
		case errors.Is(err, memcache.ErrCacheMiss):
			return sent, ErrLockLost
		case err != nil:
			return sent, err
		case !bytes.Equal(item.Value, e.value):
			return sent, ErrLockLost
		}
		select {
		case <-quit:
			return sent, errors.New("no longer wanted")
		default:
		}
		if sent, err = e.store(item, value, expiration); !changed(err) {
			return sent, err
		}
	}
	return sent, errors.New("the entry keeps changing")
}

// store swaps what was read for value. The time that counts is the one before it is sent.
func (e *entry) store(item *memcache.Item, value []byte, expiration int32) (sent time.Time, err error) {
	item.Value, item.Expiration = value, expiration
	sent = time.Now()
	return sent, e.client.CompareAndSwap(item)
}

// changed says whether a compare-and-swap failed because the entry is not what it was.
func changed(err error) bool {
	return errors.Is(err, memcache.ErrCASConflict) || errors.Is(err, memcache.ErrCacheMiss) || errors.Is(err, memcache.ErrNotStored)
}
