package mutex_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/tusd-filelock/tusd-filelock/mutex"
)

// systemClock is the Clock of a program that is no test.
type systemClock struct{}

func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (systemClock) Now() time.Time                         { return time.Now() }

// Of all processes of the machine one at a time gets here, and a second one gives up after
// a moment.
func Example() {
	spec := mutex.Spec{
		Name:    "example-of-a-mutex",
		Clock:   systemClock{},
		Delay:   50 * time.Millisecond,
		Timeout: time.Second,
	}
	m, err := mutex.Acquire(spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("acquired")

	spec.Timeout = time.Millisecond
	_, err = mutex.Acquire(spec)
	fmt.Println("the second:", err, errors.Is(err, mutex.ErrTimeout))

	m.Release()
	m.Release() // does no harm

	m, err = mutex.Acquire(spec)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Release()
	fmt.Println("acquired again")

	// Output:
	// acquired
	// the second: timeout acquiring mutex true
	// acquired again
}

// A wait can be given up.
func ExampleSpec_cancel() {
	cancel := make(chan struct{})
	spec := mutex.Spec{
		Name:   "example-of-cancelling",
		Clock:  systemClock{},
		Delay:  50 * time.Millisecond,
		Cancel: cancel,
	}
	m, err := mutex.Acquire(spec)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Release()

	close(cancel)
	_, err = mutex.Acquire(spec)
	fmt.Println(err)

	// Output:
	// cancelled acquiring mutex
}
