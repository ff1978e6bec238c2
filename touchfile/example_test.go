package touchfile_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func ExampleTouchFile_WithLock() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tf, err := touchfile.NewTouchFile(filepath.Join(dir, "report.lock"))
	if err != nil {
		log.Fatal(err)
	}
	err = tf.WithLock(context.Background(), touchfile.Exclusive, func() error {
		fmt.Println("nobody else writes the report")
		return nil
	})
	fmt.Println(err)
	// Output:
	// nobody else writes the report
	// <nil>
}

// Any number of readers share the file, and a writer waits for them as long as its context
// lasts.
func ExampleTouchFile_Lock() {
	tf, err := touchfile.NewTouchFile("") // a temporary file
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(tf.Path())

	background := context.Background()
	fmt.Println("a reader:", tf.Lock(background, touchfile.Shared))
	fmt.Println("another one:", tf.Lock(background, touchfile.Shared))

	ctx, cancel := context.WithTimeout(background, 10*time.Millisecond)
	defer cancel()
	err = tf.Lock(ctx, touchfile.Exclusive)
	fmt.Println("a writer in time:", !errors.Is(err, context.DeadlineExceeded))

	fmt.Println(tf.Unlock(), tf.Unlock())
	fmt.Println("a writer:", tf.Lock(background, touchfile.Exclusive))
	fmt.Println(tf.Unlock())
	// Output:
	// a reader: <nil>
	// another one: <nil>
	// a writer in time: false
	// <nil> <nil>
	// a writer: <nil>
	// <nil>
}

// One instance of a program at a time.
func Example() {
	program, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	tf, err := touchfile.NewTouchFile(program)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := tf.ExclusiveLock(ctx); err != nil {
		log.Fatal("it runs already: ", err)
	}
	defer tf.Unlock()
	fmt.Println("the only one")
	// Output:
	// the only one
}
