//go:build !unix

package filelocker

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// dirID names a directory by its path: the ID behind it is not to be had from os.
type dirID string

// handle is an open directory; all files are reached through its root.
type handle struct {
	root *os.Root
	file *os.File
	path string
	id   dirID
}

func nap() { time.Sleep(50 * time.Microsecond) }

func sameDevice(dirID, dirID) bool { return false } // not to be had from os

func forgets(*handle) bool { return false }

func openDir(path string) (handle, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return handle{}, err
	}
	return newHandle(root, path)
}

// openFolder opens folder below the directory h, which is at path, and never leaves that.
func (h *handle) openFolder(path, folder string) (handle, error) {
	root, err := h.root.OpenRoot(folder)
	if err != nil {
		return handle{}, &folderError{err}
	}
	return newHandle(root, filepath.Join(path, folder))
}

// newHandle takes over root, which is at path.
func newHandle(root *os.Root, path string) (h handle, err error) {
	h.root, h.path = root, path
	if h.file, err = root.Open("."); err == nil {
		h.id, err = statDir(path)
	}
	if err != nil {
		root.Close()
		return handle{}, err
	}
	return h, nil
}

func statDir(path string) (dirID, error) {
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(path)
	return dirID(abs), err
}

// gone says that the open directory was removed, which is not to be seen here.
func (h *handle) gone() bool { return false }

func (h *handle) refresh() error { return nil }

func (h *handle) descriptor() uintptr { return h.file.Fd() }

func (h *handle) close() error {
	err := h.file.Close()
	if cerr := h.root.Close(); err == nil {
		err = cerr
	}
	return err
}

// file is an open lock, stop or temporary file.
type file struct{ f *os.File }

func (h *handle) open(name string, flag int) (file, error) {
	if info, err := h.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return file{}, &fs.PathError{Op: "open", Path: filepath.Join(h.root.Name(), name), Err: errNotAFile}
	}
	f, err := h.root.OpenFile(name, flag, filePerm)
	return file{f}, err
}

func (h *handle) remove(name string) error     { return h.root.Remove(name) }
func (h *handle) rename(from, to string) error { return h.root.Rename(from, to) }
func (h *handle) link(from, to string) error   { return h.root.Link(from, to) }

func (h *handle) exchange(string, string) error { return errors.ErrUnsupported }

func (h *handle) renameNew(string, string) error { return errors.ErrUnsupported }

func (h *handle) stat(name string) (fileInfo, error) {
	info, err := h.root.Lstat(name)
	return infoOf(info), err
}

func (h *handle) find(name string) error {
	_, err := h.root.Lstat(name)
	return err
}

// fileID tells a file from all others that there are at the time.
type fileID struct{ info fs.FileInfo }

func (id fileID) String() string { return id.info.Name() } // its numbers are not told

// fileInfo is what a decision needs to know of a file.
type fileInfo struct {
	id       fileID
	regular  bool
	size     int64
	links    int // number of names; -1 if unknown
	modified time.Time
}

func infoOf(info fs.FileInfo) fileInfo {
	if info == nil {
		return fileInfo{}
	}
	return fileInfo{fileID{info}, info.Mode().IsRegular(), info.Size(), -1, info.ModTime()}
}

func sameFile(a, b fileID) bool { return os.SameFile(a.info, b.info) }

func (f file) stat() (fileInfo, error) {
	info, err := f.f.Stat()
	return infoOf(info), err
}

func (f file) write(b []byte) error {
	_, err := f.f.WriteAt(b, 0)
	return err
}

func (f file) read(b []byte) (int, error) {
	n, err := f.f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f file) touch() error {
	now := time.Now()
	return os.Chtimes(f.f.Name(), now, now)
}

func (f file) tryLock() error  { return f.control(filelock.TryLock) }
func (f file) tryRLock() error { return f.control(filelock.TryRLock) }
func (f file) unlock() error   { return f.control(filelock.Unlock) }
func (f file) close() error    { return f.f.Close() }

func (f file) above(int) file { return f }

func (f file) control(op func(uintptr) error) error {
	conn, err := f.f.SyscallConn()
	if err != nil {
		return err
	}
	var operr error
	if err := conn.Control(func(fd uintptr) { operr = op(fd) }); err != nil {
		return err
	}
	return operr
}

var errNotAFile = errors.New("not a regular file")

func notAFile(err error) bool { return errors.Is(err, errNotAFile) }

// unsupported: whatever keeps a link from being made, creating the file anew will show
// whether it was the link that was not possible.
func unsupported(err error) bool { return !errors.Is(err, fs.ErrExist) }

func outOfLocks(error) bool { return false }

func vanished(err error) bool { return errors.Is(err, fs.ErrNotExist) }
func notADir(error) bool      { return false }
