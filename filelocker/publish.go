package filelocker

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"
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

// tempName is where a lock file of an upload is made before it gets its name. It is the same
// for everybody, so that who comes next finds and removes what a killed process left.
func tempName(upload string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(upload))
	return tempPrefix + strconv.FormatUint(h.Sum64(), 36)
}

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

// made is a lock file of this process: stamped, and locked if the file system can.
type made struct {
	f     file
	info  fileInfo
	stamp stamp
}

// publish takes a lock that nobody holds: the file appears under its name whole and locked.
//
// Invariant: stage returns a file that has the temporary name and a kernel lock, and only who
// has that lock moves or removes the name. So what a rename moves is the own file.
func (d *directory) publish(upload string) (made, error) {
	if d.means.Load() == byCreate {
		return d.create(upload + lockSuffix)
	}
	temp, name := tempName(upload), upload+lockSuffix
	m, err := d.stage(temp, nil)
	if err != nil {
		return made{}, err
	}
	if d.means.Load() == byRename {
		if err = d.renameNew(temp, name); err == nil && !d.beats.Load() {
			return m, nil
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
		d.discard(temp, m)
		return d.create(name)
	}
	return d.confirm(temp, name, m, err)
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
	if errors.Is(err, fs.ErrExist) { // left by a killed process
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
func (d *directory) confirm(temp, name string, m made, err error) (made, error) {
	own, serr := d.isOwn(name, m.f, m.info, m.stamp.Token)
	if own && serr == nil {
		return m, nil
	}
	d.discard(temp, m)
	switch {
	case serr != nil:
		return made{}, serr
	case err == nil, errors.Is(err, fs.ErrExist), vanished(err):
		return made{}, errAgain
	}
	return made{}, err
}

// stage makes the file under its temporary name. doomed is a dead lock file whose kernel
// lock the caller has, or nil.
func (d *directory) stage(temp string, doomed *fileInfo) (made, error) {
	f, err := d.open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		if err = d.sweepStage(temp, doomed); err != nil {
			return made{}, err
		}
		f, err = d.open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	}
	if errors.Is(err, fs.ErrExist) {
		return made{}, errAgain
	}
	if err != nil {
		return made{}, err
	}
	m, err := d.stampFile(f, temp)
	if err == nil {
		// Between open and lock, somebody may have taken the file for a killed process's,
		// removed it, and made the next one under the same name.
		own, oerr := d.stillNamed(temp, m)
		if own {
			return m, nil
		}
		if err = oerr; err == nil {
			err = errAgain
		}
	}
	if !errors.Is(err, errAgain) { // else the name is somebody else's
		_ = d.remove(temp)
	}
	_ = f.unlock()
	f.close()
	return made{}, err
}

// stillNamed says whether the new file m still has its only name. On a local file system its
// number of names tells that, and is known already.
func (d *directory) stillNamed(name string, m made) (bool, error) {
	if !d.remote && m.info.links >= 0 {
		return m.info.links > 0, nil
	}
	return d.isOwn(name, m.f, m.info, m.stamp.Token)
}

// stampFile locks the new file f and writes who has it.
func (d *directory) stampFile(f file, name string) (made, error) {
	keeps := kernelLock
	err := f.tryLock()
	switch {
	case errors.Is(err, filelock.ErrBusy):
		return made{}, errAgain
	case errors.Is(err, errors.ErrUnsupported):
		d.beats.Store(true)
		keeps = heartbeat
	case err != nil:
		return made{}, fmt.Errorf("lock %s: %w", d.pathOf(name), err)
	}
	if d.remote {
		keeps = heartbeat
	}
	s := newStamp(exclusive, keeps)
	if err := f.write(s.marshal()); err != nil {
		return made{}, fmt.Errorf("write %s: %w", d.pathOf(name), err)
	}
	info, err := f.stat()
	if err != nil {
		return made{}, fmt.Errorf("stat %s: %w", d.pathOf(name), err)
	}
	return made{f, info, s}, nil
}

// sweepStage removes what a killed process left under a temporary name. Its kernel lock
// tells it from one that is being made: whoever has that may remove the name.
func (d *directory) sweepStage(temp string, doomed *fileInfo) error {
	f, err := d.open(temp, os.O_RDWR)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.close()
	info, err := f.stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", d.pathOf(temp), err)
	}
	if doomed == nil || !sameFile(info, *doomed) { // a crash between link and unlink leaves both names
		err = f.tryLock()
		defer f.unlock()
	}
	switch {
	case errors.Is(err, filelock.ErrBusy):
		return errAgain
	case errors.Is(err, errors.ErrUnsupported) && !d.stale(f):
		return errAgain
	case err != nil && !errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("lock %s: %w", d.pathOf(temp), err)
	}
	content, err := d.content(f)
	if err != nil || len(content) > 0 && !isStamp(content) {
		return fmt.Errorf("%s is in the way and no lock file", d.pathOf(temp))
	}
	s, _ := parseStamp(content)
	if own, err := d.isOwn(temp, f, info, s.Token); err != nil || !own {
		return err
	}
	if err := d.remove(temp); err != nil && !vanished(err) {
		return err
	}
	return nil
}

// stale says that f has not been touched for so long that nobody is at work on it.
func (d *directory) stale(f file) bool {
	info, err := f.stat()
	if err != nil {
		return false
	}
	now, err := d.now()
	return err == nil && now.Sub(info.modified) > beatLost
}

// isStamp also accepts the beginning of one: its writer may have been killed in between.
func isStamp(content []byte) bool {
	_, err := parseStamp(content)
	return err == nil || content[0] >= '1' && content[0] <= '9'
}

// discard removes a staged file that did not become a lock, if the name still is its own.
func (d *directory) discard(temp string, m made) {
	if own, err := d.isOwn(temp, m.f, m.info, m.stamp.Token); own && err == nil {
		_ = d.remove(temp)
	}
	_ = m.f.unlock()
	m.f.close()
}

// create makes the lock file under its own name, where nothing better is to be had. The
// others see it empty first and let it be (see emptyGrace).
func (d *directory) create(name string) (made, error) {
	f, err := d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		return made{}, errAgain
	}
	if err != nil {
		return made{}, err
	}
	m, err := d.stampFile(f, name)
	for range 100 {
		if !errors.Is(err, errAgain) {
			break
		}
		time.Sleep(100 * time.Microsecond) // somebody looks at it, for as long as one read takes
		m, err = d.stampFile(f, name)
	}
	if err != nil {
		if info, serr := f.stat(); serr == nil {
			if own, oerr := d.isOwn(name, f, info, ""); own && oerr == nil {
				_ = d.remove(name)
			}
		}
		_ = f.unlock()
		f.close()
		return made{}, err
	}
	return d.confirm(name, name, m, nil)
}

// takeOver replaces the lock file of a dead holder, whose open file the caller has locked, in
// one step.
//
// Invariant: only who has the kernel lock of the file that the name points to replaces it.
// The new file is locked before it gets the name, so there is no moment without a holder.
func (d *directory) takeOver(upload string, corpse file, info fileInfo, token string) (made, error) {
	temp, name := tempName(upload), upload+lockSuffix
	m, err := d.stage(temp, &info)
	if err != nil {
		return made{}, err
	}
	// A stock process knows no kernel locks and may have removed the name meanwhile.
	own, err := d.isOwn(name, corpse, info, token)
	if err == nil && !own {
		err = errAgain
	}
	if err != nil {
		d.discard(temp, m)
		return made{}, err
	}
	return d.confirm(temp, name, m, d.rename(temp, name))
}

// content reads what a stamp can be; a longer file is none.
func (d *directory) content(f file) ([]byte, error) {
	b := make([]byte, maxStamp+1)
	n, err := f.read(b)
	return b[:n], err
}

// readStamp reads the stamp at name.
func (d *directory) readStamp(name string) (stamp, error) {
	f, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return stamp{}, err
	}
	defer f.close()
	b, err := d.content(f)
	if err != nil {
		return stamp{}, fmt.Errorf("read %s: %w", d.pathOf(name), err)
	}
	return parseStamp(b)
}
