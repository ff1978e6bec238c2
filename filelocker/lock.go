// Package filelocker locks uploads for tusd with files, in place of tusd's own package of
// that name: same API, same file names, same first line in the lock file.
//
//	locker := filelocker.New("./uploads")
//	locker.UseIn(composer)
//
// # What is guaranteed
//
// Never two holders of one upload: not among goroutines, processes, PID namespaces or users
// of one machine, whatever of them is killed, stopped or restarted. A lock is taken over
// only from a holder that is proven dead, and that is known at once: the kernel frees a dead
// process's lock. What cannot be judged keeps its lock.
//
// A holder that is asked to let go is told at once, in its own process and in others. In one
// process a lock goes from hand to hand, first come, first served, and the file stays as it
// is; a waiter in another process ends that chain.
//
// Requests that only read share a lock if they come through [ShareReads]: in one process they
// share one hold on disk, and readers of several processes hold the lock file together. A
// waiting writer keeps new readers out and has those who read asked to let go. Readers never
// interrupt each other.
//
// A clean Unlock leaves the directory as it was, a failed Lock undoes what it did, and what
// a killed process left is removed by whoever locks the same upload next.
//
// A holder whose lock file is removed or replaced is told through its release callback, and its
// Unlock returns [ErrLockLost]. It leaves its successor's file alone, except where a stranger
// removes the lock file in the microseconds between Unlock's last look at it and its removal:
// no system has a call that does both. The successor is told then.
//
// # What is not guaranteed
//
// The lock is advisory. It binds those who use this package or, as far as its own rules
// allow, tusd's: that one removes a file that names a PID unknown to it, so it must not share
// a directory across PID namespaces. A shared lock carries the PID of the process that was the
// first to read, and to tusd's own locker is that one's.
//
// Writers of several processes that follow each other without a pause can keep readers waiting.
//
// A call that the file system does not answer, such as one to a file server that has gone,
// keeps its Lock or Unlock from returning until it is answered, also when the context has ended.
// Locks of other uploads do not wait for it, though while it is the watch for their directory,
// their holders do not hear of requests.
//
// The lock does not survive a directory being reached through two file systems that do not
// share kernel locks, such as an overlayfs mount and its upper directory, or a bindfs mount
// and its source.
//
// # File systems
//
// On local file systems the kernel lock (flock(2), LockFileEx) decides who is alive. On
// network and user-space file systems a lock taken on the same machine is judged so too; one
// of another machine is dead when its file has not been touched for 30 s by the file
// server's clock, which its holder does every 10 s. Where there are no kernel locks at all, a
// holder of the same machine and PID namespace is dead when its process is. A machine that is
// frozen for longer than 30 s can find its locks taken over, and is told when it wakes. Readers
// of different machines do not share a lock there: they wait for each other.
//
// # Waiting
//
// A writer that waits asks first, makes its lock file while the holder's process hears of that, and tries
// with it for a fraction of a millisecond: a holder that lets go at once is mostly done by then. After some
// milliseconds it removes that file, and sleeps.
//
// Writers of several processes that wait for an upload stand in line, those of each user and each
// network namespace in one of their own, and only the first one watches the directory. The line
// is a listening socket at an abstract address (unix(7)). That saves the others from being woken for
// a lock that they do not get. It is no promise of an order: who is not in line is not kept out,
// and after 0.1 seconds each one looks for itself, because the first one may have been stopped.
//
// # Differences between systems
//
// Waiters stand in line on Linux, on local file systems. There, changes are reported by the kernel.
// Elsewhere, on network and user-space file systems, and for as long as Linux has no inotify watch
// left, the two poll intervals apply.
package filelocker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// Defaults of the poll intervals.
const (
	DefaultHolderPollInterval   = 1 * time.Second
	DefaultAcquirerPollInterval = 3 * time.Second
)

var (
	// ErrNotHeld is matched by the error of an Unlock without a hold: the lock was never
	// taken, or was given back already.
	ErrNotHeld = errors.New("lock is not held")

	// ErrLockLost is matched by the error of an Unlock whose lock file was removed or
	// replaced by someone during the hold.
	ErrLockLost = errors.New("lock was lost: its file was removed or replaced")
)

// FileLocker is a [handler.Locker] that keeps its locks as files in a directory.
//
// It is a value without state of its own: any number of them, for any number of handlers,
// can use one directory, in one process and in many. All methods can be called concurrently.
// There is nothing to close: what runs in the background starts with the first holder or
// waiter, and ends 2 seconds after the last. So long a local Path stays open, for the next request.
type FileLocker struct {
	// Path is the directory of the lock files, usually the one of the uploads. It is not
	// created. Folders in an upload ID are folders below it, which filestore makes.
	Path string

	// HolderPollInterval is how often a holder looks for a release request where the kernel
	// does not report one. Zero and less means [DefaultHolderPollInterval], 1 second; more than
	// 10 seconds is cut to that where a heartbeat keeps the lock. For several lockers over one
	// directory in one process, the first one's applies.
	HolderPollInterval time.Duration

	// AcquirerPollInterval is the longest time after which a waiter tries again, also if
	// nothing was reported. Zero and less means [DefaultAcquirerPollInterval], 3 seconds; more
	// than 5 seconds is cut to that, because a waiter shows in this way that it still waits.
	AcquirerPollInterval time.Duration

	// Logger is told of waits (debug, and info after 1 second), waiting requests whose client
	// has gone and takeovers (info), timeouts and lost locks (warning), and failures to unlock
	// (error), which tusd does not report, and that the kernel has no inotify watch left (warning),
	// or again (info). Nil: silent.
	Logger *slog.Logger

	// FlatNames makes an ID with slashes one escaped file name instead of a path of folders,
	// for stores that do not keep uploads as files in Path. All processes that share a
	// directory must agree on it, and stock lockers know nothing of it.
	FlatNames bool

	poll  bool // look on the ticker only; for tests
	hasty bool // try before asking, as a process that is busy; for tests
	loyal bool // stand in line for as long as it takes; for tests
}

var _ handler.Locker = FileLocker{}

var silent = slog.New(slog.DiscardHandler)

// New returns a locker over the directory path, with default settings.
func New(path string) FileLocker { return FileLocker{Path: path} }

// UseIn makes the locker the one of composer.
func (l FileLocker) UseIn(composer *handler.StoreComposer) { composer.UseLocker(l) }

// NewLock returns the lock of the upload id, not locked yet. It touches no file.
//
// Its errors match [ErrInvalidID]: id is empty, absolute, longer than a file name can be,
// or contains a NUL byte or a ".." element.
func (l FileLocker) NewLock(id string) (handler.Lock, error) {
	at, err := placeOf(id, l.FlatNames)
	if err != nil {
		return nil, err
	}
	if l.HolderPollInterval <= 0 {
		l.HolderPollInterval = DefaultHolderPollInterval
	}
	if l.AcquirerPollInterval <= 0 {
		l.AcquirerPollInterval = DefaultAcquirerPollInterval
	}
	if l.Logger == nil {
		l.Logger = silent
	}
	return &lock{FileLocker: l, place: at, id: id}, nil
}

// lock is a handler.Lock. It can be locked again after Unlock; a second Lock before that
// waits or shares like any other.
type lock struct {
	FileLocker
	place
	id string

	// Guarded by the registry's mu.
	held   *holder // the last of its holds; nil: not held
	upload *upload // that it holds
}

// Lock returns when the lock is held: together with other readers if ctx is that of a request
// that [ShareReads] has marked, else alone. Whoever is in the way is asked to let go, through
// the release callback of its own Lock.
//
// requestRelease is called at most once per hold, in its own goroutine, when somebody else
// wants the lock or when it was lost. It may call Unlock.
//
// Lock returns [handler.ErrLockTimeout] when ctx ends first or the client of its request goes
// while it waits, [handler.ErrNotFound] when the ID names a folder that does not exist inside
// Path, and otherwise an error that names the file and what went wrong with it; then nothing is
// held.
func (l *lock) Lock(ctx context.Context, requestRelease func()) error {
	if ctx.Err() != nil {
		return handler.ErrLockTimeout
	}
	d, busy, err := process.enter(dirKey{l.Path, l.folder, l.poll}, l.name, l.HolderPollInterval, l.Logger)
	if err != nil {
		return err
	}
	if err := l.lockIn(ctx, d, busy, requestRelease); err != nil {
		process.leave(d)
		return err
	}
	return nil
}

// lockIn gets in line behind this process's own holders, then tries on disk.
func (l *lock) lockIn(ctx context.Context, d *directory, busy bool, requestRelease func()) error {
	w := l.holder(ctx, requestRelease)
	u, its, err := d.enqueue(ctx, l.name, w)
	if err != nil {
		w.logEnd("a lock of this process", u.attrs(w))
		return err
	}
	if its.hold != nil {
		return nil
	}
	a := &acquirer{holder: w, upload: u, dir: d, busy: busy || l.hasty, every: l.AcquirerPollInterval, logger: l.Logger}
	h, err := a.acquire(ctx, its)
	if err != nil {
		u.pass(turn{})
		if errors.Is(err, handler.ErrLockTimeout) {
			w.logEnd("a lock", a.attrs())
			return handler.ErrLockTimeout
		}
		if _, gone := statDir(filepath.Join(l.Path, l.folder)); l.folder != "" && vanished(gone) {
			return handler.ErrNotFound // it went away during the wait
		}
		return fmt.Errorf("filelocker: lock %q: %w", l.id, err)
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	u.own(w, h)
	if h.expects || h.doubtful {
		d.listener.look(d, h)
	}
	if h.expects || h.told() { // a timer would wake this process for nothing, maybe when others need the processor
		return nil
	}
	process.young = append(process.young, h)
	process.schedule(h.start + instant(listenAfter))
	return nil
}

// Unlock gives the lock back, to the next in this process or to the disk.
//
// It returns an error that matches [ErrNotHeld] when this lock is not held, and one that
// matches [ErrLockLost] when somebody took its file away. After any error but the first the
// lock is not held any more. tusd ignores the error, so it is logged too.
func (l *lock) Unlock() error {
	process.mu.Lock()
	if h := l.unseen(); h != nil {
		process.mu.Unlock()
		h.look()
		process.mu.Lock()
	}
	if l.held == nil {
		process.mu.Unlock()
		return l.failed(fmt.Errorf("filelocker: unlock %q: %w", l.id, ErrNotHeld))
	}
	u := l.upload
	h, d := u.hold, u.dir
	u.drop(l.held)
	if len(u.owners) > 0 {
		lost := h.lost
		process.mu.Unlock()
		process.leave(d)
		if lost {
			return l.failed(fmt.Errorf("filelocker: %w", h.lostError()))
		}
		return nil
	}
	if u.handOver() {
		process.mu.Unlock()
		process.leave(d)
		return nil
	}
	u.hold = nil
	h.end()
	wanted := h.contended()
	process.mu.Unlock()

	claim, err := h.release()
	u.pass(turn{unhurried: wanted, claim: claim})
	process.leave(d)
	if err != nil {
		return l.failed(fmt.Errorf("filelocker: %w", err))
	}
	return nil
}

// unseen is the hold that this call is about to hand over, if nobody has looked at it of late,
// because it is too young to be listened for: a loss would be handed on unseen. The registry's mu
// is held.
func (l *lock) unseen() *hold {
	if l.held == nil || l.held.shared || len(l.upload.line) == 0 {
		return nil
	}
	if h := l.upload.hold; !h.contended() && h.unseen() {
		return h
	}
	return nil
}

func (l *lock) failed(err error) error {
	l.Logger.Error("unlock failed", "id", l.id, "cause", err)
	return err
}
