//go:build darwin || freebsd

package dirwatch

import "golang.org/x/sys/unix"

func remote(dir uintptr) bool {
	var fs unix.Statfs_t
	err := unix.Fstatfs(int(dir), &fs)
	return err != nil || uint64(fs.Flags)&unix.MNT_LOCAL == 0
}
