package filelocker_test

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// thread is the calling thread, for strace to attach to.
func thread() int { return unix.Gettid() }

func usage() syscall.Rusage {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u
}

// cpuTime is the processor time that this process has used so far.
func cpuTime() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// voluntarySwitches is how often a thread of this process has gone to sleep so far.
func voluntarySwitches() int64 { return int64(usage().Nvcsw) }
