package filelocker

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

const (
	lockSuffix = ".lock"
	stopSuffix = ".stop"
	infoSuffix = ".info" // filestore's, beside the data of an upload
	tempPrefix = ".lock-"
	clockName  = tempPrefix + "clock"

	// filePerm is filestore's for its files, less the umask.
	filePerm = 0o664
)

// Means of giving a finished file a name that must not exist yet, best first.
const (
	byRename int32 = iota // renameat2(RENAME_NOREPLACE)
	byLink                // link, then unlink the first name
	byCreate              // O_EXCL: an empty file is to be seen for a moment
)

func (d *directory) linked() bool { return d.means.Load() == byLink }

// errAgain says that the names changed under an attempt, or that another process is in the
// middle of one: nobody holds the lock for certain, look again.
var errAgain = errors.New("changed meanwhile")

// errTaken says that there is a file of that name, and the one that was to get it is staged.
var errTaken = errors.New("exists")

// publish takes a lock that nobody holds: the file appears under its name whole and locked.
// spare is a file that an earlier attempt has staged, or nil.
//
// Invariant: stage returns a file that has the temporary name and a kernel lock, and only who
// has that lock moves or removes the name. So what a rename moves is the own file.
func (d *directory) publish(u *upload, how mode, claims bool, spare *made) (m *made, err error) {
	if d.means.Load() == byCreate {
		return d.create(u.file, how)
	}
	name := u.file
	if spare != nil {
		m = spare
	} else if m, err = d.stage(u.name, how, claims, nil); err != nil {
		return nil, err
	}
	temp := m.temp
	if d.means.Load() == byRename {
		err = d.renameNew(temp, name)
		switch {
		case d.beats.Load():
		case err == nil:
			return m, nil
		case errors.Is(err, fs.ErrExist) && !d.remote:
			return m, errTaken
		}
		if unsupported(err) {
			d.means.CompareAndSwap(byRename, byLink)
		}
	}
	if d.means.Load() == byLink && !d.linkKeepsLock(temp) {
		d.means.Store(byCreate)
	}
	switch d.means.Load() {
	case byLink:
		if err = d.link(temp, name); err == nil {
			err = d.remove(temp)
		}
	case byCreate:
		d.discard(m)
		return d.create(name, how)
	}
	return d.confirm(name, m, err)
}

// linkKeepsLock tries whether the kernel lock of a staged file is to be found under a second
// name too. There may be no links at all, and on FUSE a link can be a file of its own to the
// kernel (found with bindfs, whose links share an inode number and no lock). Only who has
// staged the upload's file uses this second name.
func (d *directory) linkKeepsLock(temp string) bool {
	if d.linkable.Load() {
		return true
	}
	second := temp + "-link"
	err := d.link(temp, second)
	if errors.Is(err, fs.ErrExist) && !d.isUpload(second) { // left by a killed process
		if err = d.remove(second); err == nil {
			err = d.link(temp, second)
		}
	}
	if err != nil {
		return false
	}
	defer d.remove(second)
	f, err := d.open(second, os.O_RDWR)
	if err != nil {
		return false
	}
	defer f.close()
	ok := d.beats.Load() || errors.Is(f.tryLock(), filelock.ErrBusy)
	d.linkable.Store(ok)
	return ok
}

// confirm finds out whether m is what the name points to. The name decides, not the answer
// of the call: a cleaner may have moved the file, and a file server may have lost the answer.
func (d *directory) confirm(name string, m *made, err error) (*made, error) {
	own, serr := d.isOwn(name, m.info.id, m.stamp.Token)
	if own && serr == nil {
		return m, nil
	}
	d.discard(m)
	switch {
	case serr != nil:
		return nil, serr
	case err == nil, errors.Is(err, fs.ErrExist), vanished(err):
		return nil, errAgain
	}
	return nil, err
}

// create makes the lock file under its own name, where nothing better is to be had. The
// others see it empty first and let it be (see emptyGrace).
func (d *directory) create(name string, how mode) (*made, error) {
	f, err := d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		return nil, errAgain
	}
	if err != nil {
		return nil, err
	}
	m, err := d.stampFile(f, name, how)
	for range 100 {
		if !errors.Is(err, errAgain) {
			break
		}
		time.Sleep(100 * time.Microsecond) // somebody looks at it, for as long as one read takes
		m, err = d.stampFile(f, name, how)
	}
	if err != nil {
		if info, serr := f.stat(); serr == nil {
			if own, oerr := d.isOwn(name, info.id, ""); own && oerr == nil {
				_ = d.remove(name)
			}
		}
		_ = f.unlock()
		f.close()
		return nil, err
	}
	return d.confirm(name, m, nil)
}

// takeOver replaces the lock file of a dead holder, whose open file the caller has locked, in
// one step.
//
// Invariant: only who has the kernel lock of the file that the name points to replaces it.
// The new file is locked before it gets the name, so there is no moment without a holder.
func (d *directory) takeOver(u *upload, how mode, claims bool, spare *made, info fileInfo, token string) (m *made, err error) {
	name := u.file
	if spare != nil {
		m = spare
	} else if m, err = d.stage(u.name, how, claims, &info.id); err != nil {
		return nil, err
	}
	// A stock process knows no kernel locks and may have removed the name meanwhile.
	own, err := d.isOwn(name, info.id, token)
	if err == nil && !own {
		err = errAgain
	}
	if err != nil {
		d.discard(m)
		return nil, err
	}
	if !d.remote {
		if err = d.exchange(m.temp, name); err == nil {
			return d.bury(name, m, info)
		}
	}
	if err == nil || unsupported(err) {
		err = d.rename(m.temp, name)
	}
	return d.confirm(name, m, err)
}

// bury removes the dead file, which has got the temporary name in exchange. ext4 writes a file
// that replaces another one to the disk at once, so that takes longer than to exchange the two
// and to remove one.
//
// What a stock process has put there since the last look is no dead file, and gets its name back.
func (d *directory) bury(name string, m *made, info fileInfo) (*made, error) {
	own, err := d.isOwn(m.temp, info.id, "")
	switch {
	case err == nil && own:
		_ = d.remove(m.temp) // else it goes with the next lock file that is made
	case err == nil:
		if err = d.exchange(m.temp, name); err == nil || vanished(err) {
			err = errAgain
		}
		d.discard(m)
		return nil, err
	}
	return m, nil
}

// openToLock opens a file of any user to try its kernel lock. Reading is enough for that on a
// local file system; NFS turns an exclusive one into a write lock (flock(2)).
func (d *directory) openToLock(name string) (file, error) {
	if d.remote {
		if f, err := d.open(name, os.O_RDWR); !errors.Is(err, fs.ErrPermission) {
			return f, err
		}
	}
	return d.open(name, os.O_RDONLY)
}

// content reads what a stamp can be; a longer file is none.
func (d *directory) content(f file) ([]byte, error) {
	b := make([]byte, usualStamp)
	n, err := f.read(b)
	if n == len(b) {
		b = make([]byte, maxStamp+1)
		n, err = f.read(b)
	}
	return b[:n], againIfVanished(err)
}

// info is what the open file f is like.
func (d *directory) info(f file) (fileInfo, error) {
	info, err := f.stat()
	return info, againIfVanished(err)
}

// againIfVanished is for calls on open files. Where the file behind a descriptor is known by
// its name, as on FUSE (found with sshfs: fstat) and NFS (ESTALE), it is gone with the name.
func againIfVanished(err error) error {
	if vanished(err) {
		return errAgain
	}
	return err
}

// hasToken says whether the stamp at name is the one with that token.
func (d *directory) hasToken(name, token string) bool {
	f, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.close()
	b, err := d.content(f)
	if err != nil {
		return false
	}
	s, err := parseStamp(b)
	return err == nil && s.Token == token
}
