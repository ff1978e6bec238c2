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
