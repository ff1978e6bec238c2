//go:build darwin || freebsd

package dirwatch

import (
	"os"

	"golang.org/x/sys/unix"
)

func remote(dir *os.File) bool {
	conn, err := dir.SyscallConn()
	if err != nil {
		return true
	}
	var fs unix.Statfs_t
	var serr error
	err = conn.Control(func(fd uintptr) { serr = unix.Fstatfs(int(fd), &fs) })
	return err != nil || serr != nil || uint64(fs.Flags)&unix.MNT_LOCAL == 0
}
