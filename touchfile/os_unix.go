//go:build unix

package touchfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// file is an open file. It is no os.File, which is closed, and with that unlocked, when a
// TouchFile that is locked is not referred to any more.
type file struct {
	fd   int
	stat syscall.Stat_t
}

// openFile opens without waiting, be it for the other end of a FIFO or for the holder of a
// lease (fcntl(2), F_SETLEASE), which is busy.
func openFile(path string, flag int) (*file, error) {
	f := new(file)
	err := uninterrupted(func() (err error) {
		flag := flag | syscall.O_CLOEXEC | syscall.O_NONBLOCK
		f.fd, err = syscall.Open(path, flag, 0o600)
		return err
	})
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = filelock.ErrBusy
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	err = uninterrupted(func() error { return syscall.Fstat(f.fd, &f.stat) })
	if err != nil {
		_ = f.close()
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return f, nil
}

// descriptor is what internal/filelock works on.
func (f *file) descriptor() uintptr { return uintptr(f.fd) }

func (f *file) close() error { return os.NewSyscallError("close", syscall.Close(f.fd)) }

// mode is what kind of file it is.
func (f *file) mode() fs.FileMode {
	switch f.stat.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		return 0
	case syscall.S_IFDIR:
		return fs.ModeDir
	default:
		return fs.ModeIrregular
	}
}

// isAt says whether path names the file.
func (f *file) isAt(path string) (bool, error) {
	var named syscall.Stat_t
	err := uninterrupted(func() error { return syscall.Stat(path, &named) })
	if err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return named.Dev == f.stat.Dev && named.Ino == f.stat.Ino, nil
}

// uninterrupted repeats a system call that a signal has interrupted, which some file systems
// allow whatever the flags of the signal's handler are.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// needsWriting tells the answers of file systems that lock for writing only what is open for
// it: EBADF (flock(2), "NFS details"), and EIO, which flock(1) of util-linux takes for the same.
func needsWriting(err error) bool {
	return errors.Is(err, syscall.EBADF) || errors.Is(err, syscall.EIO)
}
