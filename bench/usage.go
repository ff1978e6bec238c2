//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used so far, and has at the moment.
type usage struct {
	Heap, RSS  float64 // bytes; the heap and stacks, and resident pages, after a collection and without what it has freed
	Goroutines int
}

func measureUsage() (*usage, error) {
	var u usage
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap = float64(m.HeapAlloc + m.StackInuse)
	u.Goroutines = runtime.NumGoroutine()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return nil, err
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		return nil, fmt.Errorf("read /proc/self/statm: %w", err)
	}
	u.RSS = resident * float64(os.Getpagesize())
	return &u, nil
}

// cpuTimeOf is the CPU time that another process has used so far. What names its clock is made as
// clock_getcpuclockid(3) does.
func cpuTimeOf(pid int) (time.Duration, error) {
	const scheduled = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}

// inotifyUse counts the inotify instances of a process and what they watch.
func inotifyUse(pid int) (instances, watches int, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fdinfo")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd", entry.Name()))
		if err != nil || target != "anon_inode:inotify" {
			continue
		}
		instances++
		n, err := countLines(filepath.Join(dir, entry.Name()), "inotify wd:")
		if err != nil {
			return 0, 0, err
		}
		watches += n
	}
	return instances, watches, nil
}

func countLines(file, prefix string) (n int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			n++
		}
	}
	return n, lines.Err()
}
