//go:build unix

package filelocker

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// dirID names a directory within this kernel, whatever path led to it.
type dirID struct{ dev, ino uint64 }

func (id dirID) String() string {
	return strconv.FormatUint(id.dev, 16) + "/" + strconv.FormatUint(id.ino, 16)
}

// handle is an open directory. Files are named relative to its descriptor, so that no
// symlink or rename on the way to it matters after it was opened. It and its files are bare
// descriptors: os.File offers each one to the poller, which costs system calls and is
// always refused.
type handle struct {
	path string
	fd   int
	id   dirID
	// named says that the file system counts the names of directories.
	named bool
}

// openDir opens path.
func openDir(path string) (handle, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return handle{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return newHandle(path, fd)
}

// openFolder opens folder below the directory h, which is at path, and never leaves that.
func (h *handle) openFolder(path, folder string) (handle, error) {
	at := filepath.Join(path, folder)
	fd, err := openBeneath(h.fd, folder)
	if err == nil {
		return newHandle(at, fd)
	}
	// os.Root makes more calls, works on every system, and says best what is wrong.
	root, err := os.OpenRoot(path)
	if err != nil {
		return handle{}, err
	}
	defer root.Close()
	f, err := root.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return handle{}, &folderError{err}
	}
	defer f.Close()
	err = retry(func() (err error) { fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0); return err })
	if err != nil {
		return handle{}, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	return newHandle(at, fd)
}

// newHandle takes over fd.
func newHandle(path string, fd int) (handle, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		unix.Close(fd)
		return handle{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return handle{path: path, fd: fd, id: dirID{uint64(st.Dev), st.Ino}, named: st.Nlink > 0}, nil
}

// statDir says which directory is at path now.
func statDir(path string) (dirID, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Stat(path, &st) })
	return dirID{uint64(st.Dev), st.Ino}, err
}

// gone says that the open directory was removed.
func (h *handle) gone() bool {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(h.fd, &st) })
	return vanished(err) || err == nil && h.named && st.Nlink == 0
}

func (h *handle) close() error { return file{h.fd}.close() }

func (h *handle) descriptor() uintptr { return uintptr(h.fd) }

// file is an open lock, stop or temporary file.
type file struct{ fd int }

func (h *handle) open(name string, flag int) (file, error) {
	var fd int
	err := retry(func() (err error) {
		// A FIFO at the name must not block, a symlink must not lead away.
		fd, err = unix.Openat(h.fd, name, flag|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, filePerm)
		return err
	})
	return file{fd}, wrap("open", h, name, err)
}

func (h *handle) remove(name string) error {
	return wrap("remove", h, name, retry(func() error { return unix.Unlinkat(h.fd, name, 0) }))
}

// rename replaces what is at the new name.
func (h *handle) rename(from, to string) error {
	return wrap("rename", h, to, retry(func() error { return unix.Renameat(h.fd, from, h.fd, to) }))
}

// exchange gives each of two files the other one's name.
func (h *handle) exchange(a, b string) error {
	return wrap("rename", h, b, retry(func() error { return exchange(h.fd, a, b) }))
}

// renameNew fails with fs.ErrExist when the new name exists.
func (h *handle) renameNew(from, to string) error {
	return wrap("rename", h, to, retry(func() error { return renameNew(h.fd, from, to) }))
}

func (h *handle) link(from, to string) error {
	return wrap("link", h, to, retry(func() error { return unix.Linkat(h.fd, from, h.fd, to, 0) }))
}

func (h *handle) stat(name string) (fileInfo, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return fileInfo{}, wrap("stat", h, name, err)
	}
	return infoOf(&st), nil
}

// find is stat for who wants to know no more than whether anything has that name. Its error is bare.
func (h *handle) find(name string) error {
	var st unix.Stat_t
	return retry(func() error { return unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
}

// refresh has a file server asked anew what is in the directory. NFS answers from a cache, for
// up to a minute, which names there are and which there are not; only opening a directory makes
// its client look ("close-to-open consistency", nfs(5)).
func (h *handle) refresh() error {
	f, err := h.open(".", os.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return f.close()
}

// fileID tells a file from all others that there are at the time.
type fileID = dirID

// fileInfo is what a decision needs to know of a file.
type fileInfo struct {
	id       fileID
	regular  bool
	size     int64
	links    int // number of names; -1 if unknown
	modified time.Time
}

func infoOf(st *unix.Stat_t) fileInfo {
	return fileInfo{
		id:       dirID{uint64(st.Dev), st.Ino},
		regular:  st.Mode&unix.S_IFMT == unix.S_IFREG,
		size:     st.Size,
		links:    int(st.Nlink),
		modified: time.Unix(st.Mtim.Unix()),
	}
}

func sameFile(a, b fileID) bool { return a == b }

func sameDevice(a, b dirID) bool { return a.dev == b.dev }

func (f file) stat() (fileInfo, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return fileInfo{}, err
	}
	return infoOf(&st), nil
}

func (f file) write(b []byte) error {
	var n int
	err := retry(func() (err error) { n, err = unix.Pwrite(f.fd, b, 0); return err })
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// read reads the beginning of the file, at most len(b) bytes.
func (f file) read(b []byte) (int, error) {
	var n int
	err := retry(func() (err error) { n, err = unix.Pread(f.fd, b, 0); return err })
	return max(n, 0), err
}

// touch sets the modification time to the file system's now. A nil time is the one form
// that asks a file server for its own clock (utimensat(2)).
func (f file) touch() error { return touch(f.fd) }

func (f file) tryLock() error  { return filelock.TryLock(uintptr(f.fd)) }
func (f file) tryRLock() error { return filelock.TryRLock(uintptr(f.fd)) }
func (f file) unlock() error   { return filelock.Unlock(uintptr(f.fd)) }

func (f file) close() error {
	err := unix.Close(f.fd)
	if errors.Is(err, unix.EINTR) { // closed all the same, on every system that has flock
		return nil
	}
	return err
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func wrap(op string, h *handle, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fileError{op, h.path, name, err}
}

// fileError is an fs.PathError that puts its path together when it is asked for: that there is
// no such file is an answer on the way of each lock.
type fileError struct {
	op, dir, name string
	err           error
}

func (e *fileError) pathError() *fs.PathError {
	return &fs.PathError{Op: e.op, Path: filepath.Join(e.dir, e.name), Err: e.err}
}

func (e *fileError) Error() string { return e.pathError().Error() }
func (e *fileError) Unwrap() error { return e.err }

func (e *fileError) As(target any) bool {
	p, ok := target.(**fs.PathError)
	if ok {
		*p = e.pathError()
	}
	return ok
}

// Errors of the system calls that more than one system answers differently.

// notAFile: a symlink (ELOOP; FreeBSD says EMLINK), a directory, a socket.
func notAFile(err error) bool {
	return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO)
}

// unsupported: the file system does not know the operation. rclone's answer to a link is EIO.
func unsupported(err error) bool {
	for _, errno := range []error{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.ENOTSUP, unix.EPERM, unix.EIO, unix.EMLINK} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return errors.Is(err, errors.ErrUnsupported)
}

// outOfLocks: the kernel has no memory for another lock, or a file server has no locks at all.
func outOfLocks(err error) bool { return errors.Is(err, unix.ENOLCK) }

func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE)
}

func notADir(err error) bool { return errors.Is(err, unix.ENOTDIR) }
