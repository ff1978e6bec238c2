// Package dirwatch says when a name in a directory may have changed.
//
// On Linux it hears it from inotify, on one instance per process with one watch per
// directory. Where the kernel reports nothing (other systems, network and user-space file
// systems, which other machines change behind its back) it says "look again" on a ticker, and
// also for as long as the kernel has no watch left to give.
//
// A report is a hint and never more: it can come late, twice, for a name that is as it
// was, or as "anything may have changed" after an overflow. Whoever gets one looks at the
// disk. Only this is promised: a change that another process makes through the same kernel after
// [New] or [Watch.Listen] has returned, and while reports are wanted (see [Options]), is followed by a
// report for its name or for everything.
package dirwatch

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a watch. The zero value has no useful Interval: set it.
type Options struct {
	// Interval is the time between two looks on the ticker. It is not used where the
	// kernel reports every change.
	Interval time.Duration
	// Remote is what [Remote] says of the directory.
	Remote bool
	// Poll uses the ticker even where the kernel reports changes.
	Poll bool
	// Logger hears that the kernel has no watch left, once, and that it has some again. Nil: silent.
	Logger *slog.Logger
	// Wanted is asked after reports whether somebody wants more of them. Once it says no, there
	// may be none until Listen is called. It must not block, and must not call methods of the
	// Watch. Nil: always.
	Wanted func() bool
}

// kernelWatch is the kernel's part of a watch; all zero if it has none.
type kernelWatch struct {
	descriptor int
	listen     func() error
	remove     func() // ends it
}

// askAgain is the time after which the kernel is asked again that had no watch left.
const askAgain = time.Second

// Watch is a subscription to the changes in one directory.
type Watch struct {
	dir    uintptr
	path   string
	opts   Options
	notify func(name []byte, appeared bool) bool

	closing sync.Once
	quit    chan struct{}

	mu      sync.Mutex
	unheard bool // the kernel alone does not report every change
	kernel  kernelWatch
	ticking chan struct{} // closed when the ticker's goroutine is gone; nil without one
}

// New watches the directory with the descriptor dir, which must stay open until Close has returned. path
// is what it is called in messages.
//
// notify is called with the name in dir that may have changed, or nil when everything may
// have. appeared says that there is a file of that name since now, and nothing else. It answers whether the name mattered to it: a watch whose directory is busy with
// names that matter to nobody reads them in bursts, up to a millisecond late. It can be called from two
// goroutines at a time, must not block, must not keep name, and must not call New or Close.
func New(dir uintptr, path string, opts Options, notify func(name []byte, appeared bool) bool) *Watch {
	w := &Watch{dir: dir, path: path, opts: opts, notify: notify, quit: make(chan struct{}), unheard: true}
	if !opts.Poll {
		if err := w.subscribe(); err != nil && !opts.Remote {
			w.logOnce(err)
		}
	}
	if w.unheard {
		w.startTicker()
	}
	return w
}

// subscribe asks the kernel for its reports.
func (w *Watch) subscribe() error {
	given, err := subscribe(w.dir, w.opts.Remote, w.notify, w.opts.Wanted)
	if err != nil {
		return err
	}
	w.logAgain()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kernel, w.unheard = given, w.opts.Remote
	return nil
}

// Listen is called when reports are wanted again, and Wanted says so. What has changed in the
// meantime may never be reported, so look for that after Listen, not before.
func (w *Watch) Listen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kernel.listen == nil {
		return
	}
	if err := w.kernel.listen(); err != nil { // the directory is not to be read any more, perhaps
		w.logOnce(err)
		w.kernel.remove()
		w.kernel, w.unheard = kernelWatch{}, true
		w.startTicker()
	}
}

// Descriptor is that which the kernel's reports come through, or negative if there are none. It stays the same
// as long as there are some. When a process is killed, to close it can take some milliseconds.
func (w *Watch) Descriptor() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kernel.remove == nil {
		return -1
	}
	return w.kernel.descriptor
}

// Polls reports whether the watch depends on its ticker: the kernel alone does not report
// every change in this directory, or has no watch left so far.
func (w *Watch) Polls() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unheard
}

// Close ends the watch. After it, notify is not called any more and nothing of the watch
// is left. It can be called more than once.
func (w *Watch) Close() {
	w.closing.Do(func() {
		close(w.quit)
		w.mu.Lock()
		ticking := w.ticking
		w.mu.Unlock()
		if ticking != nil {
			<-ticking
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.kernel.remove != nil {
			w.kernel.remove()
		}
	})
}

func (w *Watch) startTicker() {
	w.ticking = make(chan struct{})
	go w.tick(w.ticking)
}

// tick looks on a ticker, until the kernel has a watch again if it had none left.
func (w *Watch) tick(done chan<- struct{}) {
	defer close(done)
	ticker := time.NewTicker(w.opts.Interval)
	defer ticker.Stop()
	for asked := time.Now(); ; {
		select {
		case <-ticker.C:
			heard := false
			// A file server that has gone may not answer.
			if !w.opts.Poll && !w.opts.Remote && time.Since(asked) >= askAgain {
				asked = time.Now()
				heard = w.subscribe() == nil
			}
			if w.notify(nil, false); heard {
				return
			}
		case <-w.quit:
			return
		}
	}
}

// Remote reports whether the directory with the descriptor dir may change without this machine's kernel
// taking part: it is on a network or user-space file system, or on one that is not known to be
// local. It says true where it cannot tell.
func Remote(dir uintptr) bool { return remote(dir) }

// fallback says that the last attempt to get a watch from the kernel failed, and was logged.
var fallback atomic.Bool

func (w *Watch) logOnce(cause error) {
	if w.opts.Logger != nil && fallback.CompareAndSwap(false, true) {
		w.opts.Logger.Warn("the kernel gives no notice of changes, looking on a ticker instead",
			"directory", w.path, "interval", w.opts.Interval, "cause", cause)
	}
}

func (w *Watch) logAgain() {
	if fallback.CompareAndSwap(true, false) && w.opts.Logger != nil {
		w.opts.Logger.Info("the kernel gives notice of changes again", "directory", w.path)
	}
}
