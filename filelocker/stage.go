package filelocker

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// A lock file is made under a temporary name, which is the same for everybody, so that who
// comes next finds and removes what a killed process left.
//
// Who waits, with a release request on disk, uses further names, and never waits for another maker: that
// one can be off its processor for longer than the locks of many holders last. What is left under those
// is removed with the request, by the last who takes it back, or by whoever finds it abandoned.

// stuckAfter is how long a file may be in the making before others stop waiting for its maker
// and use the next name. Making one takes less than a millisecond.
const stuckAfter = 100 * time.Millisecond

// maxStages is how many of one upload's lock files can be in the making at a time.
const maxStages = 4

// tempName is where a lock file of an upload is made; n is 0 for who has no request.
func tempName(upload string, n int) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(upload))
	var b [len(tempPrefix) + 20]byte
	name := strconv.AppendUint(append(b[:0], tempPrefix...), h.Sum64(), 36)
	if n > 0 {
		name = strconv.AppendInt(append(name, '-'), int64(n), 10)
	}
	return string(name)
}

// otherName is used in place of a name of our own that an upload happens to have.
func otherName(temp string) string { return temp + "~" }

// made is a lock file of this process: stamped, and locked if the file system can.
// By value in each frame, it would have a new goroutine's stack copied once more on the way to a lock.
type made struct {
	f     file
	info  fileInfo
	stamp holdInfo
	temp  string // the name it was made under; empty if another process made it
}

// errStuck says that the maker of a file has stopped in the middle.
var errStuck = errors.New("stuck")

// errMaking says that another process is making one.
var errMaking = errors.New("in the making")

// stage makes a lock file under a temporary name. claims says that the caller has a writer's request on
// disk, doomed is a dead lock file whose kernel lock it has, or nil.
func (d *directory) stage(upload string, how mode, claims bool, doomed *fileID) (*made, error) {
	claims = claims && !d.remote && !d.beats.Load()
	for n := range maxStages {
		if claims {
			n = (n + 1) % maxStages // the first one is the last resort
		}
		m, swept, err := d.stageAt(tempName(upload, n), how, doomed)
		// Who was killed here may have kept others waiting, who went on to the next names.
		for k := n + 1; swept && k < maxStages; k++ {
			swept, _ = d.sweepStage(tempName(upload, k), nil)
		}
		if !errors.Is(err, errStuck) && !(claims && errors.Is(err, errMaking)) {
			return m, err
		}
	}
	return nil, errMaking
}

// sweepStages removes what processes have left that were killed while they waited for the upload.
func (d *directory) sweepStages(upload string) {
	for n := range maxStages {
		_, _ = d.sweepStage(tempName(upload, n), nil)
	}
}

// stageAt also says whether a killed process had left a file under that name.
func (d *directory) stageAt(temp string, how mode, doomed *fileID) (m *made, swept bool, err error) {
	f, err := d.open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		if d.isUpload(temp) {
			temp = otherName(temp)
		}
		if swept, err = d.sweepStage(temp, doomed); err != nil {
			return nil, swept, err
		}
		f, err = d.open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil, swept, errAgain
	}
	if err != nil {
		return nil, swept, err
	}
	m, err = d.stampFile(f, temp, how)
	if err == nil {
		// Between open and lock, somebody may have taken the file for a killed process's,
		// removed it, and made the next one under the same name.
		own, oerr := d.stillNamed(temp, m)
		if own {
			return m, swept, nil
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
	return nil, swept, err
}

// sinceSlack is how much earlier than a lock was taken its stamp may say that it was.
const sinceSlack = 10 * time.Millisecond

// renew has the stamp of a file that was made some time ago say that it is taken now.
func (m *made) renew() error {
	now := time.Now().UTC()
	if now.Sub(m.stamp.Since) < sinceSlack {
		return nil
	}
	m.stamp.Since = now
	return m.f.writeStamp(&m.stamp)
}

// stillNamed says whether the new file m still has its only name. On a local file system its
// number of names tells that, and is known already.
func (d *directory) stillNamed(name string, m *made) (bool, error) {
	if !d.remote && m.info.links >= 0 {
		return m.info.links > 0, nil
	}
	return d.isOwn(name, m.info.id, m.stamp.Token)
}

// stampFile locks the new file f and writes who has it.
func (d *directory) stampFile(f file, name string, how mode) (*made, error) {
	keeps := kernelLock
	err := f.tryLockAs(how)
	switch {
	case errors.Is(err, filelock.ErrBusy):
		return nil, errAgain
	case d.lockless(err):
		d.beats.Store(true)
		keeps = heartbeat
	case err != nil:
		return nil, d.opError("lock", name, againIfVanished(err))
	case d.remote:
		keeps = both
	}
	m := &made{f: f, stamp: newHoldInfo(how, keeps), temp: name}
	if err := againIfVanished(f.writeStamp(&m.stamp)); err != nil {
		return nil, d.opError("write", name, err)
	}
	if m.info, err = d.info(f); err != nil {
		return nil, d.opError("stat", name, err)
	}
	return m, nil
}

func (f file) writeStamp(s *holdInfo) error {
	var b [usualStamp]byte
	return f.write(s.append(b[:0]))
}

// lockless says whether err, the answer to a kernel lock, means that there are none. That this
// kernel has no room for another lock is no such answer: it has room for the next one.
func (d *directory) lockless(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) && (d.remote || !outOfLocks(err))
}

func (f file) tryLockAs(how mode) error {
	if how == shared {
		return f.tryRLock()
	}
	return f.tryLock()
}

// sweepStage removes what a killed process left under a temporary name. Its kernel lock
// tells it from one that is being made: whoever has that may remove the name.
func (d *directory) sweepStage(temp string, doomed *fileID) (swept bool, err error) {
	f, err := d.openToLock(temp)
	switch {
	case vanished(err):
		return false, nil
	case errors.Is(err, fs.ErrPermission), err != nil && notAFile(err):
		return false, d.stuck(fileInfo{})
	case err != nil:
		return false, err
	}
	defer f.close()
	info, err := d.info(f)
	if err != nil {
		return false, d.opError("stat", temp, err)
	}
	if doomed == nil || !sameFile(info.id, *doomed) { // a crash between link and unlink leaves both names
		err = f.tryLock()
		defer f.unlock()
	}
	switch {
	case errors.Is(err, filelock.ErrBusy):
		return false, d.stuck(info)
	case d.lockless(err) && !d.stale(f):
		return false, errAgain
	case err != nil && !d.lockless(err):
		return false, d.opError("lock", temp, againIfVanished(err))
	}
	content, err := d.content(f)
	if err != nil || len(content) > 0 && !isStamp(content) || d.isUpload(temp) {
		return false, d.stuck(fileInfo{})
	}
	s, _ := parseStamp(content)
	if own, err := d.isOwn(temp, info.id, s.Token); err != nil || !own {
		return false, err
	}
	if err := d.remove(temp); err != nil && !vanished(err) {
		return false, err
	}
	return true, nil
}

// stuck says why a file that is being made is in the way. Without a kernel lock that all
// can see, the one name is what keeps two from taking over at once, and there is no other.
func (d *directory) stuck(info fileInfo) error {
	if d.remote || time.Since(info.modified) < stuckAfter {
		return errMaking
	}
	return errStuck
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
func (d *directory) discard(m *made) {
	own, err := d.isOwn(m.temp, m.info.id, m.stamp.Token)
	if err != nil || !own || d.remove(m.temp) != nil {
		_ = m.f.unlock()
	}
	m.f.close()
}
