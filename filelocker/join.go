package filelocker

import (
	"errors"
	"io/fs"
	"os"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// keptOut says whether a reader has to let a writer go first. So readers that keep coming
// never keep a writer waiting.
func (a *acquirer) keptOut() (claimed bool) {
	if !a.shared {
		return false
	}
	claimed, a.leftover = a.dir.claimed(a.upload.name+stopSuffix, lookForClaim, false)
	if claimed {
		a.seen = verdict{liveness: alive, why: "a writer of another process waits for it too"}
	}
	return claimed
}

// joinable says whether a reader can share the lock that it has just seen. Where other
// machines come in, their kernel locks may not be seen here, nor ours there.
func (a *acquirer) joinable() bool {
	if !a.shared {
		return false
	}
	s := a.seen.stamp()
	return s.Mode == shared && s.Keeps.locks() && (!a.dir.remote || s.sameBoot())
}

// join shares the lock of other readers, who are alive or dead: with its own kernel lock on
// the file under the name a reader is as good as the one who made it.
func (a *acquirer) join() (m *made, err error) {
	name := a.upload.file
	f, err := a.dir.open(name, os.O_RDWR) // for then the others are told of its end
	if errors.Is(err, fs.ErrPermission) {
		f, err = a.dir.open(name, os.O_RDONLY)
	}
	if vanished(err) {
		return nil, errAgain
	}
	if err != nil {
		return nil, err
	}
	err = f.tryRLock()
	switch {
	case errors.Is(err, filelock.ErrBusy):
		err = errBusy
	case err != nil:
		err = a.dir.opError("lock", name, againIfVanished(err))
	default:
		if m, err = a.joined(f); err == nil {
			return m, nil
		}
		_ = f.unlock()
	}
	_ = f.close()
	return nil, err
}

// joined looks at what has been locked, which may be another file than the one seen before.
func (a *acquirer) joined(f file) (*made, error) {
	name := a.upload.file
	info, err := a.dir.info(f)
	if err != nil {
		return nil, a.dir.opError("stat", name, err)
	}
	content, err := a.dir.content(f)
	if err != nil {
		return nil, a.dir.opError("read", name, err)
	}
	s, err := parseStamp(content)
	if err != nil || s.Mode != shared || !s.Keeps.locks() {
		return nil, errAgain
	}
	own, err := a.dir.isOwn(name, info.id, s.Token)
	if err == nil && !own {
		err = errAgain
	}
	return &made{f: f, info: info, stamp: s.holdInfo}, err
}
