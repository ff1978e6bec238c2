package flock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/tusd-filelock/tusd-filelock/flock"
)

func ExampleTryLock() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()

	unlock, err := flock.TryLock(context.Background(), root)
	if err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = flock.TryLock(ctx, root) // waits as long as its context lasts
	fmt.Println("locked by someone else:", errors.Is(err, flock.ErrLockUnsuccessful))
	fmt.Println("and in time:", !errors.Is(err, context.DeadlineExceeded))

	fmt.Println(unlock())
	fmt.Println(unlock()) // again, which is harmless
	// Output:
	// locked by someone else: true
	// and in time: false
	// <nil>
	// <nil>
}

// Many can read at the same time.
func ExampleTryRLock() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()

	for range 2 {
		unlock, err := flock.TryRLock(context.Background(), root)
		if err != nil {
			log.Fatal(err)
		}
		defer unlock()
		fmt.Println("reading")
	}
	// Output:
	// reading
	// reading
}

// Somebody removes the lock file of a holder, which then cannot rely on having been alone.
func ExampleWithLogger() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()

	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "file" {
				return slog.Attr{} // they are different each time
			}
			return a
		},
	}))
	unlock, err := flock.TryLock(flock.WithLogger(context.Background(), logger), root)
	if err != nil {
		log.Fatal(err)
	}
	if err := root.Remove(flock.LockFile); err != nil {
		log.Fatal(err)
	}
	fmt.Println("lost:", errors.Is(unlock(), flock.ErrUnlockUnsuccessful))
	// Output:
	// level=ERROR msg="lock was lost" error="lock file was removed"
	// lost: true
}
