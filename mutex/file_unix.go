//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

const (
	// machineDir is the directory of the lock files. Of the directories that every user may
	// write to, it is the only one that all Unix systems have.
	machineDir  = "/tmp"
	prefix      = "/juju-"
	sparePrefix = "/.juju-"

	// readable is the mode of a lock file: flock(2) asks for no more than an open file.
	readable = 0o444

	// birth is for how long another user's file that may not be read is taken for one being
	// made, whose mode is about to be set.
	birth = time.Second

	// replacements is how often in a row a file may turn out to be replaced before the
	// waiter pauses.
	replacements = 10
)

var (
	errNotRegular = errors.New("not a regular file")
	errLinked     = errors.New("the file has other links")
	errNotSticky  = errors.New("others may write to the directory, and it is not sticky")
)

// hold is a mutex that is held: the file, and what keeps others out if that is removed.
type hold struct {
	file   *file
	spare  *file // where there is no socket
	socket int
	passed int // how often it was passed on
}

// file is a locked file. Its descriptor is a plain number, not an *os.File: the garbage
// collector closes those, and must not free a mutex that nobody released.
type file struct {
	fd       int
	dev, ino uint64
}

// try takes the mutex if it is free, and returns errBusy if not.
//
// The file comes first, for everybody: only who has it tries the rest.
func (p *place) try(path, name string) (*hold, error) {
	if err := p.checkDirs(); err != nil {
		return nil, err
	}
	f, err := p.lock(path)
	if err != nil {
		return nil, err
	}
	h := &hold{file: f}
	if p.spare != "" {
		h.spare, err = p.lock(p.spare + sparePrefix + name)
	}
	if err == nil {
		h.socket, err = bindSocket(name)
	}
	if err != nil {
		_ = h.unlock()
		return nil, err
	}
	return h, nil
}

// release frees the socket last, because its end is what waiters are told of.
func (h *hold) release() error { return errors.Join(h.unlock(), closeSocket(h.socket)) }

func (h *hold) unlock() (err error) {
	if h.spare != nil {
		err = h.spare.unlock()
	}
	return errors.Join(err, h.file.unlock())
}

// wanted says whether another process is known to wait.
func (h *hold) wanted() bool { return hasWaiters(h.socket) }

// current says whether the file is still the one of its name.
func (h *hold) current(path string) bool { return h.file.current(path) }

func (f *file) current(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && uint64(st.Dev) == f.dev && uint64(st.Ino) == f.ino
}

// lock takes the kernel lock of the file at path.
//
// The lock counts only if the file is still the one of that name once it is locked: else
// its successor may be locked as well.
func (p *place) lock(path string) (*file, error) {
	for range replacements {
		f, err := p.open(path)
		if err != nil {
			return nil, err
		}
		if err := filelock.TryLock(uintptr(f.fd)); err != nil {
			_ = unix.Close(f.fd)
			if errors.Is(err, filelock.ErrBusy) {
				return nil, errBusy
			}
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		if f.current(path) {
			return f, nil
		}
		_ = f.unlock()
	}
	return nil, errBusy
}

// unlock fails only if neither unlocking nor closing worked, for each of them frees the
// lock. Unlocking comes first: a child that is being started has a copy of the descriptor.
func (f *file) unlock() error {
	err := filelock.Unlock(uintptr(f.fd))
	if cerr := unix.Close(f.fd); err != nil && cerr != nil {
		return fmt.Errorf("%w; close: %w", err, cerr)
	}
	return nil
}

// open opens the lock file, and makes it if there is none.
//
// An existing file is opened without O_CREAT: in a sticky directory the kernel refuses that
// for the files of other users (proc_sys_fs(5), protected_regular).
func (p *place) open(path string) (*file, error) {
	for range replacements {
		fd, err := retry(func() (int, error) {
			// Without O_NONBLOCK a named pipe in the file's place would keep its opener.
			return unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		})
		if errors.Is(err, fs.ErrNotExist) {
			fd, err = p.create(path)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return nil, explain(path, err)
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		if err == nil {
			err = check(&st)
		}
		if err != nil {
			_ = unix.Close(fd)
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		widen(fd, &st)
		return &file{fd, uint64(st.Dev), uint64(st.Ino)}, nil
	}
	return nil, errBusy
}

// checkDirs refuses a directory in which everybody could remove everybody's lock files.
func (p *place) checkDirs() error {
	if p.usable.Load() {
		return nil
	}
	for _, dir := range []string{p.dir, p.spare} {
		if dir == "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: dir, Err: err}
		}
		if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
			return &fs.PathError{Op: "open", Path: dir, Err: errNotSticky}
		}
	}
	p.usable.Store(true)
	return nil
}

// check refuses what is no lock file. A second name could make two mutexes one, or lock a
// file that somebody else needs.
func check(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errNotRegular
	case st.Nlink > 1:
		return errLinked
	}
	return nil
}

// explain says what is wrong with a file that cannot be opened.
func explain(path string, err error) error {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil {
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = fmt.Errorf("%w: %w", errNotRegular, err)
		} else if errors.Is(err, fs.ErrPermission) && time.Since(time.Unix(st.Ctim.Unix())).Abs() < birth {
			return errBusy
		}
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

// create makes the lock file, which must not exist. Its mode is set afterwards because of the
// umask, and its owner only on the file just made, never on one that was found.
func (p *place) create(path string) (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, readable)
	})
	if err != nil {
		return -1, err
	}
	if uid, gid, ok := p.sudoUser(); ok {
		// It fails unless this is root, and everybody can lock the file all the same.
		_ = unix.Fchown(fd, uid, gid)
	}
	if err := unix.Fchmod(fd, readable); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// widen makes a file of this user readable to all that is not: one whose maker was killed
// before it could, or one that an older implementation left. A file with content is
// somebody's, and stays as it is.
func widen(fd int, st *unix.Stat_t) {
	if st.Mode&readable != readable && int(st.Uid) == unix.Geteuid() && st.Size == 0 {
		_ = unix.Fchmod(fd, uint32(st.Mode)&0o777|readable)
	}
}

// sudoUser is the user who ran this process through sudo.
func (p *place) sudoUser() (uid, gid int, ok bool) {
	u, uerr := p.id("SUDO_UID")
	g, gerr := p.id("SUDO_GID")
	return u, g, uerr == nil && gerr == nil
}

// id is 31 bits wide, so that it is never the -1 that means no change to chown(2).
func (p *place) id(variable string) (int, error) {
	value, ok := p.env.LookupEnv(variable)
	if !ok {
		return 0, fs.ErrNotExist
	}
	id, err := strconv.ParseUint(value, 10, 31)
	return int(id), err
}

func retry(open func() (int, error)) (int, error) {
	for {
		fd, err := open()
		if !errors.Is(err, syscall.EINTR) {
			return fd, err
		}
	}
}
