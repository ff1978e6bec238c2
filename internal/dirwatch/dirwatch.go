// Package dirwatch says when a name in a directory may have changed.
//
// On Linux it hears it from inotify, on one instance per process with one watch per
// directory. Where the kernel reports nothing (other systems, network and user-space file
// systems, which other machines change behind its back) or has no watch left to give, it
// says "look again" on a ticker.
//
// A report is a hint and never more: it can come late, twice, for a name that is as it
// was, or as "anything may have changed" after an overflow. Whoever gets one looks at the
// disk. Only this is promised: a change that another process makes through the same kernel
// after [New] has returned is followed by a report for its name or for everything, once reports are
// wanted (see [Options]).
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
	// Logger hears that the kernel has no watch left: once, until it has some again. Nil: silent.
	Logger *slog.Logger
	// Wanted is asked after reports whether somebody wants more of them. Once it says no, there
	// may be none until Listen is called. It must not block, and must not call methods of the
	// Watch. Nil: always.
	Wanted func() bool
}

// Watch is a subscription to the changes in one directory.
type Watch struct {
	notify func(name []byte, appeared bool) bool
	remove func()
	listen func()

	closing sync.Once
	quit    chan struct{}
	ticking chan struct{} // closed when the ticker's goroutine is gone; nil without one
}

// New watches the directory with the descriptor dir, which must stay open until Close has returned. path
// is what it is called in messages.
//
// notify is called with the name in dir that may have changed, or nil when everything may
// have. appeared says that there is a file of that name since now, and nothing else. It answers whether the name mattered to it: a watch whose directory is busy with
// names that matter to nobody reads them in bursts, up to a millisecond late. It is called
// from one goroutine at a time, must not block, must not keep name, and must not call
// New or Close.
func New(dir uintptr, path string, opts Options, notify func(name []byte, appeared bool) bool) *Watch {
	w := &Watch{notify: notify, quit: make(chan struct{})}
	if !opts.Poll {
		remove, listen, err := subscribe(dir, opts.Remote, notify, opts.Wanted)
		if err == nil {
			w.remove, w.listen = remove, listen
			fallback.Store(false)
		} else if !opts.Remote {
			logOnce(opts.Logger, path, opts.Interval, err)
		}
	}
	if w.remove == nil || opts.Remote {
		w.ticking = make(chan struct{})
		go w.tick(opts.Interval)
	}
	return w
}

// Listen is called when reports are wanted again, and Wanted says so. What has changed in the
// meantime is reported then.
func (w *Watch) Listen() {
	if w.listen != nil {
		w.listen()
	}
}

// Polls reports whether the watch depends on its ticker: the kernel alone does not report
// every change in this directory.
func (w *Watch) Polls() bool { return w.ticking != nil }

// Close ends the watch. After it, notify is not called any more and nothing of the watch
// is left. It can be called more than once.
func (w *Watch) Close() {
	w.closing.Do(func() {
		close(w.quit)
		if w.remove != nil {
			w.remove()
		}
	})
	if w.ticking != nil {
		<-w.ticking
	}
}

func (w *Watch) tick(interval time.Duration) {
	defer close(w.ticking)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.notify(nil, false)
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

func logOnce(logger *slog.Logger, path string, interval time.Duration, cause error) {
	if logger != nil && fallback.CompareAndSwap(false, true) {
		logger.Warn("the kernel gives no notice of changes, looking on a ticker instead",
			"directory", path, "interval", interval, "cause", cause)
	}
}
