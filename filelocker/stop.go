package filelocker

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

const (
	// requestLife is how long a release request counts after it was last touched. An acquirer
	// keeps it fresh, so an older one is that of a stopped process, which must not interrupt one
	// holder after the other for a lock that it does not take.
	requestLife = 10 * time.Second
	// touchEvery is how often an acquirer that looks again and again touches its request. All
	// who watch the directory are told of it, so it is not done with each look.
	touchEvery = time.Second
)

// request is an acquirer's <id>.stop: the file asks the holder in another process to let go.
// Acquirers share it.
//
// A shared kernel lock on it is a writer's claim: the lock is to be the writer's next, and no
// reader gets in before. A reader makes the file without locking it, so that readers never
// keep out or interrupt each other. Stock acquirers do the same, at each of their polls.
type request struct {
	dir    *directory
	name   string
	mode   mode // what is wanted
	posted bool
	made   bool // the file was not there before
	f      file
	id     fileID

	touched instant
}

// post puts the request on disk, keeps it fresh, and puts it there again if it has been taken
// away. It does nothing where something else has that name: then there is no way to ask, and
// waiting is all there is.
func (r *request) post() error {
	if r.posted {
		at, err := r.dir.stat(r.name)
		own := err == nil && sameFile(at.id, r.id)
		if own && r.touched.since() < touchEvery {
			return nil
		}
		if own && r.f.touch() == nil {
			r.touched = monotonic()
			return nil
		}
		if own && r.dir.isRequest(r.name, at) {
			_ = r.dir.remove(r.name) // another user's; who shares it posts anew with the next look
		}
		r.posted = false
		r.drop()
	}
	for n := range 5 {
		// Somebody is about to remove one, which takes some microseconds. If not, it may be off its
		// processor, and get it the later the more look: 50 ms later, with sixty at it (traced).
		switch {
		case n > 2:
			time.Sleep(4 * time.Millisecond << (n - 3))
		case n > 0:
			nap()
		}
		if n > 0 && r.mode == exclusive && !r.dir.remote && r.removing() {
			continue
		}
		if again, err := r.try(); !again {
			return err
		}
	}
	return nil
}

// removing says that somebody has the request's kernel lock for itself, as who removes it. It opens the file
// for reading, of which nobody hears: of a file opened for writing, each close is reported to all who watch.
func (r *request) removing() bool {
	f, err := r.dir.open(r.name, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.close()
	return errors.Is(f.tryRLock(), filelock.ErrBusy)
}

func (r *request) try() (again bool, err error) {
	r.touched = 0 // the holder may not have been told of one that is there already
	f, err := r.dir.open(r.name, os.O_RDWR)
	if vanished(err) {
		if f, err = r.dir.open(r.name, os.O_RDWR|os.O_CREATE|os.O_EXCL); err == nil {
			r.touched, r.made = monotonic(), true
		} else if errors.Is(err, fs.ErrExist) {
			return true, nil
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		f, err = r.dir.open(r.name, os.O_RDONLY)
	}
	switch {
	case errors.Is(err, fs.ErrPermission), notAFile(err):
		return false, nil
	case vanished(err):
		return true, err
	case err != nil:
		return false, err
	}
	r.f = f
	if r.mode == exclusive && errors.Is(f.tryRLock(), filelock.ErrBusy) {
		r.f.close()
		return true, nil
	}
	info, serr := r.dir.info(f)
	if errors.Is(serr, errAgain) {
		r.drop()
		return true, nil
	}
	if serr != nil || !r.dir.isRequest(r.name, info) {
		r.drop()
		return false, nil
	}
	at, serr := r.dir.stat(r.name)
	if serr != nil || !sameFile(at.id, info.id) {
		r.drop()
		return true, nil
	}
	r.id, r.posted = info.id, true
	return false, nil
}

// withdraw takes the request back; the last one out removes the file.
func (r *request) withdraw() {
	if !r.posted {
		return
	}
	r.posted = false
	// A refused conversion loses the shared lock, which is to go anyway.
	if err := r.f.tryLock(); err == nil || r.dir.lockless(err) {
		r.dir.removeRequest(r.name, r.id)
	}
	r.drop()
}

func (r *request) drop() {
	_ = r.f.unlock()
	_ = r.f.close()
}

// removeRequest removes the request at name if it still is the file id, whose kernel lock the
// caller has exclusively: then nobody else removes or replaces it. Before it goes what processes have
// left that were killed while they stood behind it: as long as it is there, somebody will come to that.
func (d *directory) removeRequest(name string, id fileID) (removed bool) {
	at, err := d.stat(name)
	if err != nil || !sameFile(at.id, id) || !d.isRequest(name, at) {
		return false
	}
	d.sweepStages(strings.TrimSuffix(name, stopSuffix))
	return d.remove(name) == nil
}

// isRequest tells a request from an upload that happens to be called <id>.stop: a request is
// empty, and the store keeps no information about it.
func (d *directory) isRequest(name string, info fileInfo) bool {
	return info.regular && info.size == 0 && !d.isUpload(name)
}

// isUpload says that filestore, the store beside this locker, has an upload of that name.
func (d *directory) isUpload(name string) bool { return d.find(name+infoSuffix) == nil }

// claimed says whether a writer stands behind the release request at name. One that nobody
// stands behind is left over, or a reader's or a stock acquirer's. It must neither interrupt a
// new holder nor keep a reader out: sweep it when the lock is held, and who lives makes it anew.
//
// look finds out whether somebody has locked the file; if not, it is locked afterwards.
func (d *directory) claimed(name string, look func(file) (bool, error), sweep bool) (claimed, abandoned bool) {
	if !d.remote && d.absent(name) { // mostly there is none, which this tells sooner than an open does
		return false, false
	}
	f, err := d.openToLock(name)
	if vanished(err) || notAFile(err) {
		return false, false
	}
	if err != nil {
		return d.requested(name), false // no way to see whether somebody stands behind it
	}
	defer f.close()
	held, err := look(f)
	if errors.Is(err, filelock.ErrBusy) {
		return false, false
	}
	requested := d.requested(name)
	if held || err != nil && (requested || !d.lockless(err)) {
		return requested, false
	}
	info, err := f.stat()
	abandoned = err == nil && d.isRequest(name, info)
	if sweep && abandoned {
		d.removeRequest(name, info.id)
	}
	_ = f.unlock()
	return false, abandoned
}

// absent says that nothing has that name.
//
// Who looks up a name that the kernel has not in its cache, which on tmpfs is any that is not there,
// waits for those who change the directory, asleep; who wants to change it waits awake, for they
// never take long (found with perf: each such sleep costs as much as a lock). So with others at work
// here the question is asked in the form of a change that is none: a name given to itself.
func (d *directory) absent(name string) bool {
	if d.means.Load() == byRename && d.crowded() && d.forgets() {
		return vanished(d.renameNew(name, name))
	}
	return vanished(d.find(name))
}

// forgets says that the kernel remembers no name that is not there. It is asked when that first matters.
func (d *directory) forgets() bool {
	const yes, no = 1, 2
	if d.memory.Load() == 0 {
		answer := int32(no)
		if forgets(&d.handle) {
			answer = yes
		}
		d.memory.Store(answer)
	}
	return d.memory.Load() == yes
}

// crowded says that others of this process are at work in d: not those who wait or have held for long.
func (d *directory) crowded() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return d.refs-d.attentive > 1
}

// lookForClaim takes the kernel lock of a request if nobody claims it. There is no way to look
// but to try, and two who look at the same time must not take each other for a writer: who
// looks has an exclusive lock, beside which there can be no claim. It pauses in between, because
// one that looks can stand still; the last try sees a claim end that stood in its way.
func lookForClaim(f file) (claimed bool, err error) {
	for range 5 {
		if err = f.tryLock(); !errors.Is(err, filelock.ErrBusy) {
			return false, err
		}
		if err = f.tryRLock(); err != nil {
			return false, err
		}
		_ = f.unlock()
		time.Sleep(50 * time.Microsecond)
	}
	return glanceForClaim(f)
}

// lookOnceForClaim is for a writer, which has nobody beside it who looks as well, but for those who
// pass. While it has the shared lock, nobody gets the exclusive one, so what refuses the conversion is a
// claim, but for who comes in between the conversion's two steps (flock(2)).
func lookOnceForClaim(f file) (claimed bool, err error) {
	if err = f.tryLock(); !errors.Is(err, filelock.ErrBusy) {
		return false, err
	}
	if err = f.tryRLock(); err != nil {
		return false, err
	}
	return glanceForClaim(f)
}

// glanceForClaim takes one who only looks for a writer too, but never waits.
func glanceForClaim(f file) (locked bool, err error) {
	err = f.tryLock()
	if errors.Is(err, filelock.ErrBusy) {
		return true, nil
	}
	return false, err
}

// requested says whether there is a release request, locked or not, that is still wanted.
func (d *directory) requested(name string) bool {
	info, err := d.stat(name)
	if err != nil || !d.isRequest(name, info) {
		return false
	}
	now, err := d.now()
	return err != nil || now.Sub(info.modified) < requestLife
}
