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
func forgets(h handle) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(h.fd, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

func renameNew(dir int, from, to string) error {
	return unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
}

func exchange(dir int, a, b string) error {
	return unix.Renameat2(dir, a, dir, b, unix.RENAME_EXCHANGE)
}

// yield has a process run that was woken on the same processor. The kernel can put it there though
// another one is idle: on a virtual machine, an idle processor looks like one that is taken away
// (vcpu_is_preempted).
func yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// touch is futimens(fd, NULL), which x/sys has no name for.
func touch(fd int) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(nil)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
