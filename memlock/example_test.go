package memlock_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/tusd-filelock/tusd-filelock/memlock"
)

// Of all machines that use the same memcached one at a time rebuilds the index.
func ExampleTryWithLock() {
	client := memcache.New("127.0.0.1:11211")
	defer client.Close()
	var s server // in place of a memcached, so that this example runs anywhere
	client.DialContext = s.dial
	defer s.shut()

	ctx := memlock.NewContext(context.Background(), client)
	err := memlock.TryWithLock(ctx, "rebuild-index", "host-1", func(ctx context.Context) error {
		fmt.Println("host-1 rebuilds the index") // and stops as soon as ctx is done

		err := memlock.TryWithLock(ctx, "rebuild-index", "host-2", func(context.Context) error {
			fmt.Println("host-2 never gets here")
			return nil
		})
		fmt.Println("host-2:", errors.Is(err, memlock.ErrFailedToLock), errors.Is(err, memcache.ErrNotStored))
		return nil
	})
	fmt.Println("host-1:", err)

	// Output:
	// host-1 rebuilds the index
	// host-2: true true
	// host-1: <nil>
}

// Memcached may forget the lock at any time. The function is told.
func ExampleTryWithLock_lost() {
	client := memcache.New("127.0.0.1:11211")
	defer client.Close()
	var s server
	client.DialContext = s.dial
	defer s.shut()

	ctx := memlock.NewContext(context.Background(), client)
	err := memlock.TryWithLock(ctx, "rebuild-index", "host-1", func(ctx context.Context) error {
		if err := client.FlushAll(); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	fmt.Println(errors.Is(err, memlock.ErrLockLost))

	// Output:
	// true
}
