package filelocker

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// openBeneath opens a directory below another one (openat2(2), since Linux 5.6).
func openBeneath(dir int, name string) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	err = retry(func() (err error) { fd, err = unix.Openat2(dir, name, &how); return err })
	return fd, err
}

// forgets says that the kernel keeps no record of names that are not there. tmpfs has none, as all its
// files are in memory anyway.
func forgets(h *handle) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(h.fd, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

func renameNew(dir int, from, to string) error {
	return unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
}

func exchange(dir int, a, b string) error {
	return unix.Renameat2(dir, a, dir, b, unix.RENAME_EXCHANGE)
}

// above returns the same open file under a number above fd, if there is one to be had. The files of a killed process
// are closed from the highest number down (fput puts them on a list that task_work_run takes from its end),
// and an inotify instance is waited for until no processor can be at work with it, which can take some
// milliseconds (fsnotify_wait_marks_destroyed; both traced with Linux 6.18).
func (f file) above(fd int) file {
	if fd < 0 || f.fd > fd {
		return f
	}
	var moved int
	err := retry(func() (err error) { moved, err = unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, fd+1); return err })
	if err != nil {
		return f
	}
	_ = f.close() // the kernel lock is that of both numbers (flock(2))
	return file{moved}
}

// nap has a process run that was woken on the same processor. The kernel can put it there though
// another one is idle: on a virtual machine, an idle processor looks like one that is taken away
// (vcpu_is_preempted).
//
// It takes the timer slack of prctl(2), 50 us, and leaves a process its turn. sched_yield(2) gives that away: with thirty
// others on the processor it takes 28 ms, and this 0.3 ms (Linux 6.18).
func nap() { _ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &unix.Timespec{Nsec: 1}, nil) }

// touch is futimens(fd, NULL), which x/sys has no name for.
func touch(fd int) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(nil)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
