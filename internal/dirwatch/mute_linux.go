package dirwatch

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Each report is made for each process that watches, at the cost of who changes the directory. So a process
// that holds nothing and waits for nothing there has its reader sleep, and where much happens that is not
// for it, nothing reported: with 64 that have waited before, that was a third of a hand-over.

// noisy is how many events of one directory, in one read, that mattered to nobody, are so many that it is to
// be muted. To listen again takes longer then, by one system call.
const noisy = 100

// watched is a directory that the kernel reports about.
type watched struct {
	subs  []*subscription
	noise int // events since the last read that mattered to nobody
	noisy bool
	muted bool
}

type subscription struct {
	dir    uintptr
	remote bool
	notify func([]byte, bool) bool
	wanted func() bool // nil: always
}

func (w *watched) has(s *subscription) bool { return w != nil && slices.Contains(w.subs, s) }

func (w *watched) wanted() bool {
	return slices.ContainsFunc(w.subs, func(s *subscription) bool { return s.wanted == nil || s.wanted() })
}

// notify tells those who watch w. mu is held.
func (in *instance) notify(w *watched, name []byte, appeared bool) (mattered bool) {
	for _, s := range w.subs {
		mattered = s.notify(name, appeared) || mattered
	}
	if n := len(in.told); n == 0 || in.told[n-1] != w {
		in.told = append(in.told, w)
	}
	if !mattered {
		w.noise++
	}
	return mattered
}

// hear has the reader told of the directory again, if it is deaf or the directory muted.
func (in *instance) hear(wd int32, s *subscription) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.dirs[wd]
	if !w.has(s) { // the directory is gone
		return nil
	}
	in.arm()
	return w.unmute(in.fd)
}

// rearm is called when the reader has read. Whether it is woken again depends on whether anybody wants it.
//
// Invariant: wanted says yes before hear is called. So either it does so here, or hear, which needs
// mu, comes after this and finds the reader deaf and the directory muted.
func (in *instance) rearm(fd int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.dirs == nil || in.fd != fd {
		return
	}
	for _, w := range in.told {
		w.noisy = w.noisy || w.noise >= noisy
		w.noise = 0
		if w.noisy && !w.wanted() {
			w.mute(fd)
		}
	}
	in.told = in.told[:0]
	in.deaf = true
	for _, w := range in.dirs {
		if w.wanted() {
			in.arm()
			return
		}
	}
}

// arm has the reader woken by the next event. mu is held.
func (in *instance) arm() {
	if !in.deaf {
		return
	}
	in.deaf = false
	if conn, err := in.ready.SyscallConn(); err == nil {
		_ = conn.Control(func(ep uintptr) { _ = control(int(ep), unix.EPOLL_CTL_MOD, in.fd) })
	}
}

// quiet is what ends a watch, and one event of files, which are rarely touched: for the first watch of a directory
// that is about files, the kernel goes through all of them (10 ms for 100,000, Linux 6.18).
const quiet = unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// mute has next to nothing reported of w. A file server is not asked for that, as mu is held.
func (w *watched) mute(fd int) {
	if w.muted || len(w.subs) == 0 || w.subs[0].remote {
		return
	}
	_, err := addWatch(fd, w.subs[0].dir, quiet)
	w.muted = err == nil
}

func (w *watched) unmute(fd int) error {
	if !w.muted {
		return nil
	}
	if _, err := addWatch(fd, w.subs[0].dir, maskFor(false)); err != nil {
		return err
	}
	w.muted = false
	return nil
}
