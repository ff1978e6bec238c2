package filelocker

import (
	"errors"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

const (
	// hintAfter is how far apart two requests without a claim must be to count for readers.
	hintAfter = 500 * time.Millisecond
	// urgeLife is how long such a request counts, though its file was removed: who made it comes
	// again, or is a writer that has not got round to its claim.
	urgeLife = requestLife / 2
)

// look compares the disk with what the hold believes, and tells the holder what it finds: a
// request to let go, or that the lock is gone.
func (h *hold) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lookNow()
}

// tryLook is look for one who must not wait for an Unlock or another look, whose calls the file
// system may not answer. After an Unlock there is nothing to see.
func (h *hold) tryLook() {
	if h.mu.TryLock() {
		defer h.mu.Unlock()
		h.lookNow()
		return
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	if !h.ended {
		h.lookLater(nextLook)
	}
}

// lookNow is look with h.mu held.
func (h *hold) lookNow() {
	if h.closed {
		return
	}
	h.withdraw()
	own, err := h.isOwn()
	if err != nil {
		h.logger.Warn("cannot look at a held lock", "file", h.path(), "cause", err)
		return
	}
	if own && h.beats != nil && h.beats.last.since() >= beatEvery {
		h.beat()
	}
	claims := own && h.keepClaim()
	wanted := own && !claims && h.requested()
	process.mu.Lock()
	defer process.mu.Unlock()
	h.doubtful = false
	h.looked = h.attentive // from then on, what happens is reported
	if own {
		h.seen = monotonic()
	}
	if h.ended {
		return
	}
	if own && !wanted && !claims && h.shared && h.wanted { // who claimed it has given up
		h.wanted = false
		h.upload.admit()
		h.upload.press()
	}
	switch {
	case h.shared && (claims || wanted):
		h.lookLater(requestLife / 2)
	case own && !h.shared && !h.sure: // somebody else looks at a request, or removes it
		h.lookLater(min(max(nextLook, h.start.since()), requestLife/2))
	}
	if own && !wanted {
		return
	}
	if !own && !h.lost {
		h.lost = true
		h.logger.Warn("lock lost: its file was removed or replaced", "file", h.path())
	}
	h.wanted = h.wanted || wanted
	h.upload.ask()
}

// keepClaim claims the lock for a writer that waits in line behind these readers, so that no
// reader of another process gets in before it. It says whether there is such a claim.
func (h *hold) keepClaim() bool {
	if !h.shared {
		return false
	}
	if process.mu.Lock(); !h.upload.hasWriter() {
		process.mu.Unlock()
		if h.claim != nil {
			h.claim.withdraw()
			h.claim = nil
		}
		return false
	}
	process.mu.Unlock()
	if h.claim == nil {
		h.claim = &request{dir: h.dir(), name: h.upload.name + stopSuffix, mode: exclusive}
	}
	if err := h.claim.post(); err != nil {
		h.logger.Warn("cannot ask for release", "file", h.dir().pathOf(h.claim.name), "cause", err)
	}
	return h.claim.posted
}

// lookLater has another look taken after some time: it keeps a claim fresh, and sees when that of
// another process is not any more. The registry's mu is held.
func (h *hold) lookLater(pause time.Duration) {
	if h.again != nil {
		h.again.Stop()
	}
	h.again = time.AfterFunc(pause, func() {
		process.mu.Lock()
		defer process.mu.Unlock()
		if !h.ended {
			h.dir().listener.look(h.dir(), h)
		}
	})
}

// requested says whether another process wants the lock.
//
// Readers heed a claim. A request without one can be a leftover, or that of a reader that is
// about to join, and is removed; only who asks again after a while, as stock acquirers do,
// wants the lock indeed.
func (h *hold) requested() bool {
	stop := h.upload.name + stopSuffix
	switch {
	case !h.shared && h.sure:
		return h.dir().requested(stop)
	case !h.shared:
		h.sure = true
		claimed, _ := h.dir().claimed(stop, func(f file) (claimed bool, err error) {
			claimed, err = lookOnceForClaim(f)
			h.sure = !errors.Is(err, filelock.ErrBusy)
			return claimed, err
		}, true)
		return claimed
	}
	claimed, hint := h.dir().claimed(stop, lookForClaim, true)
	if hint {
		switch age := h.hinted.since(); {
		case age > requestLife:
			h.hinted = monotonic()
		case age > hintAfter:
			h.urged = monotonic()
		}
	}
	return claimed || h.urged.since() < urgeLife
}

func (h *hold) beat() {
	if err := h.f.touch(); err != nil {
		h.logger.Warn("cannot touch a held lock", "file", h.path(), "cause", err)
		return
	}
	h.beats.last = monotonic()
}
