package flock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

var (
	errNotRegular = errors.New("not a regular file")
	errRemoved    = errors.New("lock file was removed")
	errReplaced   = errors.New("lock file was replaced")
)

// open opens the lock file if there is one. An open that could create it as well would be
// refused for the file of another user in a sticky directory, even where writing is allowed
// (fs.protected_regular).
func open(root *os.Root) (*os.File, error) {
	return root.OpenFile(LockFile, os.O_RDWR|openFlag, 0)
}

// create fails with filelock.ErrBusy when there is a lock file.
func create(root *os.Root) (*os.File, error) {
	f, err := root.OpenFile(LockFile, os.O_RDWR|os.O_CREATE|os.O_EXCL|openFlag, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if info, lerr := root.Lstat(LockFile); lerr == nil && !info.Mode().IsRegular() {
		return nil, errNotRegular // a symlink to nowhere
	}
	return nil, filelock.ErrBusy
}

// named returns what the name of the lock file stands for now, if that is the file of info,
// and errRemoved or errReplaced if it is not.
func named(root *os.Root, info fs.FileInfo) (fs.FileInfo, error) {
	name, err := root.Lstat(LockFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errRemoved
	case err != nil:
		return nil, err
	case os.SameFile(name, info):
		return name, nil
	case !name.Mode().IsRegular():
		return nil, errNotRegular
	default:
		return nil, errReplaced
	}
}

// control calls op with the descriptor of f.
func control(f *os.File, op func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var operr error
	if err := conn.Control(func(fd uintptr) { operr = op(fd) }); err != nil {
		return err
	}
	return operr
}

// release unlocks before it closes: a child between fork and exec has a copy of the
// descriptor, and the lock would last as long as that one.
func release(f *os.File) error {
	err := control(f, filelock.Unlock)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// inRoot gives an error the whole path of the lock file.
func inRoot(root *os.Root, err error) error {
	if err == nil {
		return nil
	}
	op, path := "lock", filepath.Join(root.Name(), LockFile)
	var perr *fs.PathError
	if errors.As(err, &perr) {
		op, err = perr.Op, perr.Err
		path = filepath.Join(root.Name(), filepath.Base(perr.Path))
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
