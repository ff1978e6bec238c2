//go:build !unix

package touchfile

import (
	"io/fs"
	"os"
	"runtime"
)

// file is an open file.
type file struct {
	file *os.File
	info fs.FileInfo
}

func openFile(path string, flag int) (*file, error) {
	opened, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	f := &file{opened, info}
	stay(f)
	return f, nil
}

// stay keeps the garbage collector from closing, and with that unlocking, the file when a
// TouchFile that is locked is not referred to any more: what a finalizer refers to is not
// finalized itself, and this one comes back.
func stay(f *file) { runtime.SetFinalizer(f, stay) }

// descriptor is what internal/filelock works on.
func (f *file) descriptor() uintptr { return f.file.Fd() }

func (f *file) close() error {
	runtime.SetFinalizer(f, nil)
	return f.file.Close()
}

// mode is what kind of file it is.
func (f *file) mode() fs.FileMode { return f.info.Mode() }

// isAt says whether path names the file.
func (f *file) isAt(path string) (bool, error) {
	named, err := os.Stat(path)
	return err == nil && os.SameFile(f.info, named), err
}

func needsWriting(error) bool { return false }
