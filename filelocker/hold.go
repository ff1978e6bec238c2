package filelocker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// hold is what this process has on disk: the lock file, open and locked. It outlives its
// first holder when it is handed over within the process.
type hold struct {
	upload *upload
	start  instant
	logger *slog.Logger
	beats  *pulse // nil where a kernel lock alone keeps it

	// Guarded by the registry's mu.
	attentive bool // what happens in the directory is reported to it, or about to be
	looking   bool // a look is due
	looked    bool // there was a look since it has been attentive
	ended     bool
	lost      bool // the name no longer is this file's
	wanted    bool // another process asked for it
	// doubtful: when the lock was taken, there was a request that somebody had locked. That one
	// waits, or was about to remove it; the first look at the hold tells which.
	doubtful bool
	seen     instant // when a look found the file under its name
	again    *time.Timer

	// These stay as they are. There are many holds, and here is room for them.
	expects bool // to be asked: it listens from the start
	shared  bool // with other readers
	locks   bool // a kernel lock keeps it

	mu      sync.Mutex // keeps f from being closed under a look
	closed  bool
	sure    bool // a look has told, see doubtful
	f       file
	id      fileID
	hinted  instant  // when readers were last asked by what may be nobody
	urged   instant  // when it was last found to be somebody
	claim   *request // of a writer in line behind these readers; nil if there is none
	request *request // its own, still on disk; nil if there is none
}

// pulse is what a hold needs where there are no kernel locks, or other machines may not see them: a heartbeat, and
// the token to know its file by, whose number may change.
type pulse struct {
	token string
	last  instant // guarded by the hold's mu
}

// held is the hold of a lock file that a has made or joined.
func (a *acquirer) held(m *made) *hold {
	h := &hold{
		upload: a.upload,
		shared: a.shared,
		locks:  m.stamp.Keeps.locks(),
		start:  monotonic(),
		logger: a.logger,
		f:      m.f,
		id:     m.info.id,
	}
	if m.stamp.Keeps.beats() || a.dir.remote {
		h.beats = &pulse{token: m.stamp.Token, last: h.start}
	}
	return h
}

// attend says whether h needs to hear what happens. The registry's mu is held.
func (h *hold) attend(yes bool) {
	if h.attentive != yes {
		h.attentive = yes
		h.dir().attend(yes)
	}
}

// hears says whether h is attentive.
func (h *hold) hears() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return h.attentive
}

// told says that all that h could hear is known already: its holder is to let go. Where there is a
// ticker, what it reports is that a heartbeat may be due. The registry's mu is held.
func (h *hold) told() bool { return h.lost || h.wanted && !h.shared && h.beats == nil }

// hear makes h attentive, unless there is nothing to hear.
func (h *hold) hear() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	if h.ended || h.told() {
		return false
	}
	h.attend(true)
	return true
}

// end is called when the hold is not handed over any more. The registry's mu is held.
func (h *hold) end() {
	h.ended = true
	h.attend(false)
	if h.again != nil {
		h.again.Stop()
	}
}

func (h *hold) dir() *directory { return h.upload.dir }

func (h *hold) path() string { return h.dir().pathOf(h.upload.file) }

// unseen says that a loss of the file could have gone unnoticed. The registry's mu is held.
func (h *hold) unseen() bool { return !h.looked && h.seen.since() > checkLife }

// contended says that another process waits for the lock, as far as is known. The registry's mu
// is held.
func (h *hold) contended() bool { return h.wanted || h.doubtful }

// withdraw takes back the request by which the lock was asked for, before a look for those of others, and at the
// latest before the lock is given back. To do so before Lock returns would take a fifth of a hand-over.
func (h *hold) withdraw() {
	if h.request != nil {
		h.request.withdraw()
		h.request = nil
	}
}

// closeBefore sees to it that the kernel closes the lock file before the descriptor fd when this process is
// killed. It must not wait for an Unlock or a look, whose calls the file system may not answer.
func (h *hold) closeBefore(fd int) {
	if !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	if !h.closed {
		h.f = h.f.above(fd)
	}
}

// release removes the lock file if the name still is its own, and gives back the kernel lock.
// A claim is left to the next one in line.
func (h *hold) release() (claim *request, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.withdraw()
	removed, err := h.remove()
	// A child process between fork and exec has a copy of the descriptor, which would keep the
	// lock for a moment. On a file that has lost its name, it is in nobody's way.
	if !removed {
		if uerr := h.f.unlock(); err == nil && uerr != nil && h.locks {
			err = fmt.Errorf("unlock %s: %w", h.path(), uerr)
		}
	}
	if cerr := h.f.close(); err == nil && cerr != nil {
		err = fmt.Errorf("unlock %s: close: %w", h.path(), cerr)
	}
	return h.claim, err
}

// isOwn says whether the lock file's name still is the hold's file.
func (h *hold) isOwn() (bool, error) {
	var token string
	if h.beats != nil {
		token = h.beats.token
	}
	return h.dir().isOwn(h.upload.file, h.id, token)
}

// remove removes the lock file, or leaves that to the other readers.
//
// Invariant: only who has the kernel lock of the file that the name points to removes or
// replaces the name. So the name cannot change between the look and the removal.
func (h *hold) remove() (removed bool, err error) {
	own, err := h.isOwn()
	if err == nil && !own {
		return false, h.lostError()
	}
	if err == nil && h.shared {
		own, err = h.isLast()
	}
	if err == nil && own {
		if err = h.dir().remove(h.upload.file); vanished(err) { // a stranger was quicker
			return false, h.lostError()
		}
	}
	if err != nil {
		return false, fmt.Errorf("unlock: %w", err)
	}
	return own, nil
}

func (h *hold) lostError() error {
	return fmt.Errorf("unlock %s: %w", h.path(), ErrLockLost)
}

// isLast turns a reader's kernel lock into an exclusive one, which only the last reader gets.
//
// Invariant: of those who leave at the same time, one at least is the last: who is refused was
// so by one that still had its lock, and that one's own turn to ask comes later.
//
// For a moment the conversion holds nothing (flock(2)). An acquirer that comes in then takes
// the file for a dead reader's and replaces it, and removing the name is its business.
func (h *hold) isLast() (bool, error) {
	err := h.f.tryLock()
	switch {
	case errors.Is(err, filelock.ErrBusy):
		return false, nil
	case h.dir().lockless(err) && !h.locks: // then nobody else could join
		return true, nil
	case err != nil:
		return false, h.dir().opError("lock", h.upload.file, err)
	}
	return h.isOwn()
}

// isOwn says whether name still is the file id. A file server may give a file another number
// each time, as CIFS does; there the token decides.
func (d *directory) isOwn(name string, id fileID, token string) (bool, error) {
	at, err := d.stat(name)
	switch {
	case vanished(err):
		return false, nil
	case err != nil:
		return false, err
	case sameFile(at.id, id):
		return true, nil
	}
	return d.remote && token != "" && d.hasToken(name, token), nil
}
