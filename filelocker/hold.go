package filelocker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// hold is what this process has on disk: the lock file, open and locked. It outlives its
// first holder when it is handed over within the process.
type hold struct {
	dir    *directory
	upload *upload
	name   string // of the lock file
	token  string
	keeps  keeper
	start  time.Time
	logger *slog.Logger

	// Guarded by the registry's mu.
	settled bool // has lasted for listenAfter
	looking bool // a look is due
	looked  bool // there was a look since it has settled
	ended   bool
	lost    bool // the name no longer is this file's
	wanted  bool // another process asked for it

	mu     sync.Mutex // keeps f from being closed under a look
	f      file
	info   fileInfo
	closed bool
	beaten time.Time
}

// look compares the disk with what the hold believes, and tells the holder what it finds: a
// request to let go, or that the lock is gone.
func (h *hold) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	own, err := h.dir.isOwn(h.name, h.f, h.info, h.token)
	if err != nil {
		h.logger.Warn("cannot look at a held lock", "file", h.dir.pathOf(h.name), "cause", err)
		return
	}
	if own && h.keeps == heartbeat && time.Since(h.beaten) >= beatEvery {
		h.beat()
	}
	wanted := own && h.dir.requested(h.upload.name+stopSuffix)
	process.mu.Lock()
	defer process.mu.Unlock()
	h.looked = h.settled // from then on, what happens is reported
	if own && !wanted || h.ended {
		return
	}
	if !own && !h.lost {
		h.lost = true
		h.logger.Warn("lock lost: its file was removed or replaced", "file", h.dir.pathOf(h.name))
	}
	h.wanted = h.wanted || wanted
	h.upload.owner.ask()
}

func (h *hold) beat() {
	if err := h.f.touch(); err != nil {
		h.logger.Warn("cannot touch a held lock", "file", h.dir.pathOf(h.name), "cause", err)
		return
	}
	h.beaten = time.Now()
}

// release removes the lock file if the name still is its own, and gives back the kernel lock.
//
// Invariant: only who has the kernel lock of the file that the name points to removes or
// replaces the name. So the name cannot change between the look and the removal.
func (h *hold) release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	own, err := h.dir.isOwn(h.name, h.f, h.info, h.token)
	switch {
	case err != nil:
		err = fmt.Errorf("unlock: %w", err)
	case !own:
		err = fmt.Errorf("unlock %s: %w", h.dir.pathOf(h.name), ErrLockLost)
	default:
		if err = h.dir.remove(h.name); err != nil {
			err = fmt.Errorf("unlock: %w", err)
		}
	}
	if uerr := h.f.unlock(); err == nil && uerr != nil && !errors.Is(uerr, errors.ErrUnsupported) {
		err = fmt.Errorf("unlock %s: %w", h.dir.pathOf(h.name), uerr)
	}
	if cerr := h.f.close(); err == nil && cerr != nil {
		err = fmt.Errorf("unlock %s: close: %w", h.dir.pathOf(h.name), cerr)
	}
	return err
}

// isOwn says whether name still is the open file f, last seen as info. A file server may
// give a file another number each time, as CIFS does; there the token decides.
func (d *directory) isOwn(name string, f file, info fileInfo, token string) (bool, error) {
	at, err := d.stat(name)
	if vanished(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if sameFile(at, info) {
		return true, nil
	}
	if !d.remote || token == "" {
		return false, nil
	}
	s, err := d.readStamp(name)
	return err == nil && s.Token == token, nil
}
