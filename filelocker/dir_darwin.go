package filelocker

import "golang.org/x/sys/unix"

func renameNew(dir int, from, to string) error {
	return unix.RenameatxNp(dir, from, dir, to, unix.RENAME_EXCL)
}

func touch(fd int) error { return unix.Futimes(fd, nil) }
