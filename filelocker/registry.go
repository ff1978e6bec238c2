package filelocker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tusd-filelock/tusd-filelock/internal/dirwatch"
)

// checkLife is how long a look at the disk counts for those who get in line for a lock that
// this process has, and for those who are handed it.
const checkLife = time.Millisecond

// process is the registry of this process. FileLocker is a value that anybody can make
// anew for the same directory, so who holds what must be known to all of them.
var process registry

// registry knows every directory in which this process holds or waits for a lock.
//
// One timer serves all holds and directories, and runs only while there is a young hold or
// an idle directory. Nothing here waits or touches a disk with mu held.
type registry struct {
	mu     sync.Mutex
	byPath map[dirKey]*directory
	byID   map[dirID]*directory
	young  []*hold      // in order of their start; some may have ended
	idle   []*directory // some may be in use again
	timer  *time.Timer  // of the next sweep; nil if there is none to come
	due    instant      // of that
}

// dirKey is how a locker names a directory. Other keys can lead to the same one.
type dirKey struct {
	path, folder string
	poll         bool
}

// directory is one that lock files are in, open once per process.
type directory struct {
	handle
	remote bool
	poll   bool
	keys   []dirKey

	// Guarded by the registry's mu.
	refs      int
	entered   instant // for the last time
	checked   instant // when checkedBy was seen to lead here
	checkedBy dirKey  // the last one that was looked at
	idleSince instant
	uploads   map[string]*upload
	attentive int // waiters to be woken, and holds that listen

	listener listener

	means    atomic.Int32 // publishing means that the file system turned out to have
	linkable atomic.Bool  // its links turned out to share kernel locks
	beats    atomic.Bool  // it turned out to have no kernel locks
	memory   atomic.Int32 // what forgets has found out; 0 is nothing yet
}

// folderError is a failure to open a folder inside an existing Path.
type folderError struct{ err error }

func (e *folderError) Error() string { return e.err.Error() }
func (e *folderError) Unwrap() error { return e.err }

// enter returns the directory of key, held open until leave is called.
//
// A directory that is open already is checked against the path, because it may have been
// removed and made anew since. name is that of the upload that is to be locked.
//
// interval and logger are those of a directory that is opened now. busy says that another lock in it,
// or in the folders beside it, was taken a moment ago.
func (r *registry) enter(key dirKey, name string, interval time.Duration, logger *slog.Logger) (d *directory, busy bool, err error) {
	if d, busy := r.open(key, name); d != nil {
		return d, busy, nil
	}
	d = &directory{poll: key.poll, uploads: make(map[string]*upload)}
	d.listener.interval, d.listener.logger = interval, logger
	var parent *directory // of a folder
	if key.folder == "" {
		d.handle, err = openDir(key.path)
	} else {
		if parent, busy, err = r.enter(dirKey{path: key.path, poll: key.poll}, "", interval, logger); err != nil {
			return nil, false, err
		}
		defer r.leave(parent)
		d.handle, err = parent.openFolder(key.path, key.folder)
	}
	if err != nil {
		return nil, false, dirError(key, err)
	}
	if d.sameFileSystem(parent) {
		d.remote = parent.remote
	} else {
		d.remote = dirwatch.Remote(d.descriptor())
	}
	if d.remote {
		r.weed(key, d.id)
		d.sweepClock()
	}
	return r.add(key, d), busy, nil
}

// open is enter where the directory is open already. It is not looked for at its path again if
// that was done a moment ago and a hold of this process is in the way.
func (r *registry) open(key dirKey, name string) (d *directory, busy bool) {
	r.mu.Lock()
	d = r.byPath[key]
	if d != nil && d.checkedBy == key {
		if u := d.uploads[name]; u != nil && u.hold != nil && d.checked.since() < checkLife {
			d.refs++
			r.mu.Unlock()
			return d, true
		}
	}
	r.mu.Unlock()
	if d == nil {
		return nil, false
	}
	path := key.path
	if key.folder != "" {
		path = filepath.Join(path, key.folder)
	}
	id, err := statDir(path)
	if err != nil {
		return nil, false
	}
	if d.remote {
		r.weed(key, id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d = r.byPath[key]; d == nil || d.id != id {
		return nil, false
	}
	d.refs++
	now := monotonic()
	busy = now.sub(d.entered) < linger
	d.entered, d.checked, d.checkedBy = now, now, key
	return d, busy
}

// weed forgets a directory that was removed since it was opened. The kernel gives its number to
// no other one while it is open; but on FUSE numbers can be those of the file system behind,
// which does (found with bindfs).
func (r *registry) weed(key dirKey, id dirID) {
	r.mu.Lock()
	known := []*directory{r.byID[id], r.byPath[key]}
	known = slices.DeleteFunc(known, func(d *directory) bool { return d == nil || !d.remote || d.id != id })
	for _, d := range known {
		d.refs++
	}
	r.mu.Unlock()
	for _, d := range known {
		if d.gone() {
			r.mu.Lock()
			r.drop(d)
			r.mu.Unlock()
		}
		r.leave(d)
	}
}

// drop takes d from the registry, so that nobody else enters it. mu is held.
func (r *registry) drop(d *directory) {
	for _, key := range d.keys {
		if r.byPath[key] == d {
			delete(r.byPath, key)
		}
	}
	if r.byID[d.id] == d {
		delete(r.byID, d.id)
	}
}

// add makes d known, or gives it up for the same directory under another path.
func (r *registry) add(key dirKey, d *directory) *directory {
	known := r.addOrFind(key, d)
	if known != d {
		d.handle.close()
	}
	return known
}

func (r *registry) addOrFind(key dirKey, d *directory) *directory {
	r.mu.Lock()
	defer r.mu.Unlock()
	if same := r.byID[d.id]; same != nil && same.poll == d.poll {
		d = same
	} else if same == nil {
		if r.byID == nil {
			r.byID, r.byPath = make(map[dirID]*directory), make(map[dirKey]*directory)
		}
		r.byID[d.id] = d
	}
	r.byPath[key] = d
	if !slices.Contains(d.keys, key) {
		d.keys = append(d.keys, key)
	}
	d.refs++
	d.entered = monotonic()
	return d
}

func dirError(key dirKey, err error) error {
	var inside *folderError
	if errors.As(err, &inside) && (errors.Is(err, fs.ErrNotExist) || notADir(err)) {
		return handler.ErrNotFound
	}
	return fmt.Errorf("filelocker: directory %s: %w", key.path, err)
}

// leave gives back what enter returned.
func (r *registry) leave(d *directory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.refs--; d.refs > 0 {
		return
	}
	if d.idleSince == 0 {
		r.idle = append(r.idle, d)
	}
	d.idleSince = monotonic()
	r.schedule(d.idleSince + instant(d.lingers()))
}

// holds says whether a hold with that token, which a heartbeat keeps, is this process's.
func (r *registry) holds(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.byPath {
		for _, u := range d.uploads {
			if u.hold != nil && u.hold.beats != nil && u.hold.beats.token == token {
				return true
			}
		}
	}
	return false
}

func (d *directory) close() {
	d.listener.close()
	d.handle.close()
}

// sameFileSystem says that d is known to be on that of another directory, if there is one.
func (d *directory) sameFileSystem(other *directory) bool {
	return other != nil && sameDevice(d.id, other.id)
}

// stat says what is at name now, also if another machine has changed it: unlike that of the
// handle, the answer is no older than the call.
func (d *directory) stat(name string) (fileInfo, error) {
	if err := d.askAnew(); err != nil {
		return fileInfo{}, err
	}
	return d.handle.stat(name)
}

// find is stat for who wants to know no more than whether anything has that name.
func (d *directory) find(name string) error {
	if err := d.askAnew(); err != nil {
		return err
	}
	return d.handle.find(name)
}

// askAnew sees to it that what a file server says next is no older than the call.
func (d *directory) askAnew() error {
	if !d.remote {
		return nil
	}
	return d.refresh()
}

// pathOf names a file of the directory in messages.
func (d *directory) pathOf(name string) string { return filepath.Join(d.path, name) }

// opError says with which file an operation failed.
func (d *directory) opError(op, name string, err error) error {
	return fmt.Errorf("%s %s: %w", op, d.pathOf(name), err)
}
