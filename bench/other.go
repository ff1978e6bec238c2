//go:build !linux

// Command bench measures on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it measures with what Linux alone has: inotify, /proc, strace")
	os.Exit(1)
}
