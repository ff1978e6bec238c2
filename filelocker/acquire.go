package filelocker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
	"github.com/tusd-filelock/tusd-filelock/internal/line"
)

// acquirer is the one of this process who tries for an upload's lock on disk.
type acquirer struct {
	*holder
	upload *upload
	dir    *directory
	busy   bool          // this process took another lock here a moment ago
	every  time.Duration // the longest time between two looks
	logger *slog.Logger
	req    *request // its own, or the one that its process has made for it
	own    request
	seen   verdict // of the holder found last

	making   bool // somebody else makes a lock file
	leftover bool // a reader has seen a request that nobody stands behind

	// spare is a lock file that was made for a name that somebody has. It gets that name when it is
	// free, or replaces a dead holder's file. The first to ask keeps it for as long as a prompt answer
	// can be expected, if it leads the line; else it is removed before anything else is tried.
	spare  *made
	prompt bool

	place    *line.Place // in the line of those who wait; nil if there is no line
	patience int         // how often it still leaves the watching to the first one there
	followed bool        // the next one there has been called
}

// acquire tries until it has the lock, the context ends, or trying makes no sense.
func (a *acquirer) acquire(ctx context.Context, its turn) (h *hold, err error) {
	if a.req = its.claim; a.req == nil {
		a.own = request{dir: a.dir, name: a.upload.name + stopSuffix, mode: a.mode()}
		a.req = &a.own
	}
	if !its.unhurried && !a.asksFirst() && !a.keptOut() {
		h, err = a.tryNew()
	}
	if h == nil && err == nil {
		h, err = a.wait(ctx, its.unhurried)
	}
	asked := a.req.posted
	if h != nil && asked {
		h.request = a.req
	} else {
		a.req.withdraw()
	}
	a.leaveLine() // at last, because whom it calls can take this processor
	switch {
	case h == nil:
	case a.followed:
		h.wanted, h.sure = true, true
	case asked: // others may come as well
		h.expects = true
	case !a.shared || a.leftover: // readers have looked before
		h.doubtful, _ = a.dir.claimed(a.req.name, glanceForClaim, true)
		h.sure = !h.doubtful
	}
	return h, err
}

// asksFirst says whether a writer has somebody to ask. Each waiter in the directory hears of a lock
// file that is made and not used, so who has the time looks whether there is one. In a process that
// is busy here, the next lock is more likely to be free than this call to be worth its while.
func (a *acquirer) asksFirst() bool {
	if a.busy || a.shared || a.dir.remote {
		return false
	}
	return a.exists()
}

// claims says that a is a writer with its request on disk.
func (a *acquirer) claims() bool { return !a.shared && a.req.posted }

func (a *acquirer) exists() bool { return a.dir.find(a.upload.file) == nil }

// tryNew is for a lock that nobody holds, as it is with most; if not, try says what is in the way.
func (a *acquirer) tryNew() (*hold, error) {
	if m, err := a.publish(); err == nil {
		return a.held(m), nil
	}
	return a.try()
}

// try takes the lock if nobody holds it, or its holder is proven dead. A nil hold without an
// error means that somebody has it.
func (a *acquirer) try() (*hold, error) {
	defer a.dropSpare()
	for range 20 {
		m, err := a.tryOnce()
		a.making = errors.Is(err, errMaking)
		switch {
		case err == nil:
			return a.held(m), nil
		case errors.Is(err, errBusy), a.making && !a.shared: // a reader may join that one
			return nil, nil
		case !a.making && !errors.Is(err, errAgain):
			return nil, err
		}
	}
	return nil, nil
}

// errBusy says that somebody has the lock, as far as can be known.
var errBusy = errors.New("locked")

func (a *acquirer) tryOnce() (*made, error) {
	name := a.upload.file
	f, err := a.dir.openToLock(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a.publish()
	case errors.Is(err, fs.ErrPermission):
		a.seen = verdict{liveness: unknown, why: "not allowed to open it"}
		return nil, errBusy
	case err != nil && notAFile(err):
		return nil, fmt.Errorf("%w: not a lock file", err)
	case vanished(err):
		return nil, errAgain
	case err != nil:
		return nil, err
	}
	defer f.close()
	err = f.tryLock()
	if errors.Is(err, filelock.ErrBusy) {
		a.dropSpare()
		if a.refused(f); a.joinable() {
			return a.join()
		}
		return nil, errBusy
	}
	if err != nil && !a.dir.lockless(err) {
		return nil, a.dir.opError("lock", name, againIfVanished(err))
	}
	if err != nil {
		a.dir.beats.Store(true)
	}
	m, err := a.probe(f, err == nil)
	if err != nil { // else it has lost its name, and is in nobody's way
		_ = f.unlock()
	}
	return m, err
}

// publish takes the lock if there is no lock file.
func (a *acquirer) publish() (*made, error) {
	m, err := a.dir.publish(a.upload, a.mode(), a.claims(), a.takeSpare())
	if errors.Is(err, errTaken) {
		a.spare = m
		return nil, errAgain
	}
	return m, err
}

// takeSpare returns the spare file with the time of now, or nil.
func (a *acquirer) takeSpare() *made {
	if a.spare != nil && a.spare.renew() != nil {
		a.discardSpare() // what is wrong shows when the next one is made
	}
	spare := a.spare
	a.spare = nil
	return spare
}

// dropSpare is discardSpare for all but the one who is to have the lock in a moment.
func (a *acquirer) dropSpare() {
	if !a.prompt || !a.leads() {
		a.discardSpare()
	}
}

func (a *acquirer) discardSpare() {
	if a.spare != nil {
		a.dir.discard(a.spare)
		a.spare = nil
	}
}

// refused notes that somebody has the kernel lock on f, and what that one has written.
func (a *acquirer) refused(f file) {
	a.seen = verdict{liveness: alive, why: "its kernel lock is held"}
	if b, err := a.dir.content(f); err == nil {
		a.seen.content = b
	}
}

// probe judges the holder of the open file f and takes over from a dead one.
func (a *acquirer) probe(f file, locked bool) (*made, error) {
	name := a.upload.file
	info, err := a.dir.info(f)
	if err != nil {
		return nil, a.dir.opError("stat", name, err)
	}
	if !info.regular {
		return nil, fmt.Errorf("%s: not a lock file", a.dir.pathOf(name))
	}
	content, err := a.dir.content(f)
	if err != nil {
		return nil, a.dir.opError("read", name, err)
	}
	v := judge(content, info.modified, locked, a.dir.remote)
	v.content = content
	token := v.stamp().Token
	own, err := a.dir.isOwn(name, info.id, token)
	if err != nil {
		return nil, err
	}
	if !own { // released since it was opened
		return nil, errAgain
	}
	if v, err = a.confirmDeath(v, info); err != nil {
		return nil, err
	}
	a.seen = v
	if v.liveness != dead {
		return nil, errBusy
	}
	m, err := a.dir.takeOver(a.upload, a.mode(), a.claims(), a.takeSpare(), info, token)
	if err == nil && a.dir.remote {
		a.dir.sweepClock() // its holder may have been killed while it asked for the time
	}
	if err == nil && a.logger.Enabled(context.Background(), slog.LevelInfo) {
		a.logger.Info("lock taken over from a dead holder", a.attrs()...)
	}
	return m, err
}

// confirmDeath refuses what would be a takeover of an upload's data, or of a file that was
// touched too recently.
func (a *acquirer) confirmDeath(v verdict, info fileInfo) (verdict, error) {
	if v.liveness != dead {
		return v, nil
	}
	if a.dir.isUpload(a.upload.file) {
		v.liveness, v.why = unknown, "it is the data of an upload"
		return v, nil
	}
	if v.silent == 0 {
		return v, nil
	}
	now, err := a.dir.now()
	if err != nil {
		return v, fmt.Errorf("learn the file system's time: %w", err)
	}
	if now.Sub(info.modified) < v.silent {
		v.liveness = unknown
		v.why = fmt.Sprintf("last touched %v ago, which proves nothing before %v", now.Sub(info.modified).Round(time.Millisecond), v.silent)
	}
	return v, nil
}
