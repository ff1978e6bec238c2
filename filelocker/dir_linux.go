package filelocker

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func renameNew(dir int, from, to string) error {
	return unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
}

func exchange(dir int, a, b string) error {
	return unix.Renameat2(dir, a, dir, b, unix.RENAME_EXCHANGE)
}

// touch is futimens(fd, NULL), which x/sys has no name for.
func touch(fd int) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(nil)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
