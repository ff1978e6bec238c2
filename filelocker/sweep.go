package filelocker

import (
	"slices"
	"time"
)

const (
	// listenAfter is how long a hold must have lasted before it costs anything to listen for
	// release requests: most are over by then.
	listenAfter = 2 * time.Millisecond
	// linger is how long a directory nobody uses stays open at least, for the next request, and how
	// long this process counts as busy there. There can be thousands of folders, and what is open is in
	// the way of who unmounts a file server's directory.
	linger = 5 * time.Millisecond
	// lingerInRoot is the same for what stays open of a local Path. There are few of them, and to open
	// one anew takes as long as to ask a holder. The first watch of a directory takes more: the kernel
	// marks each name of it in its cache, which for 200,000 names is 31 ms in which nobody can make a
	// file there (inotify_add_watch in Linux 6.18, traced; fsnotify_recalc_mask).
	lingerInRoot = 2 * time.Second
)

// lingers is how long d stays open when nobody uses it. The registry's mu is held.
func (d *directory) lingers() time.Duration {
	isRoot := func(key dirKey) bool { return key.folder == "" }
	if !d.remote && slices.ContainsFunc(d.keys, isRoot) {
		return lingerInRoot
	}
	return linger
}

// schedule sees to it that there is a sweep at due, or before. mu is held.
func (r *registry) schedule(due instant) {
	if r.timer != nil && (r.due <= due || !r.timer.Stop()) {
		return
	}
	r.due = due
	r.timer = time.AfterFunc(due.sub(monotonic()), r.sweep)
}

// sweep lets holds that have become long listen, and closes directories out of use.
func (r *registry) sweep() {
	r.mu.Lock()
	r.timer = nil // it has fired
	unused := r.sweepAt(monotonic())
	r.mu.Unlock()
	closeAll(unused)
}

func closeAll(unused []*directory) {
	for _, d := range unused {
		d.close()
	}
}

// sweepAt is sweep as of now. It answers what is to be closed without mu, which is held.
func (r *registry) sweepAt(now instant) (unused []*directory) {
	for _, h := range r.grown(now) {
		h.attend(true)
		h.dir().listener.look(h.dir(), h)
	}
	unused, next := r.unused(now)
	if len(r.young) > 0 {
		r.schedule(r.young[0].start + instant(listenAfter))
	}
	if len(r.idle) > 0 { // all that are due by then at once
		r.schedule(max(next, now+instant(linger)))
	}
	return unused
}

// grown takes the holds that have lasted for listenAfter from the young. mu is held.
func (r *registry) grown(now instant) (settled []*hold) {
	n := 0
	for _, h := range r.young {
		if h.ended {
			n++
			continue
		}
		if now.sub(h.start) < listenAfter {
			break
		}
		settled = append(settled, h)
		n++
	}
	clear(r.young[:n])
	r.young = r.young[n:]
	if len(r.young) == 0 {
		r.young = nil
	}
	return settled
}

// unused takes the directories that nobody has used for long enough from the registry. The next one will be
// due at next, if any are left. mu is held.
func (r *registry) unused(now instant) (closing []*directory, next instant) {
	var later []*directory
	for _, d := range r.idle {
		switch due := d.idleSince + instant(d.lingers()); {
		case d.refs > 0:
			d.idleSince = 0
		case now < due:
			if len(later) == 0 || due < next {
				next = due
			}
			later = append(later, d)
		default:
			closing = append(closing, d)
			r.drop(d)
		}
	}
	r.idle = later
	return closing, next
}
