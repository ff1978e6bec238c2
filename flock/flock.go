// Package flock is an advisory lock for the processes that use one directory: a lock file
// below an [os.Root], held under a kernel lock and kept fresh while it is held.
//
//	unlock, err := flock.TryLock(ctx, root)
//	if err != nil {
//		return err
//	}
//	defer unlock() // and look at its error where the answer matters
//
// # What is guaranteed
//
// Nobody has the lock while another one holds it exclusively, neither in this process nor in
// another one of this machine, as long as the holder runs. When the holder dies, however it
// does, the kernel frees its lock at once. A process started by the holder does not inherit
// the lock.
//
// A lock that is held costs an open file and a timer, and a goroutine only for the moment in
// which the file is refreshed. On Linux and a block device, a file that was refreshed less than
// a second before it is taken is not refreshed again.
//
// # It is a lease
//
// A holder refreshes the time of the lock file every [HeartbeatInterval]. A holder that does
// not, because its process is stopped or its machine is suspended, keeps the kernel lock, but
// no longer than until somebody wants it: a lock file older than [StaleAfter] is removed and
// the lock taken with a new file. So a holder that was frozen for longer than that may find
// itself replaced when it goes on, and what it does then it does beside its successor. The
// time counts from the last refresh: a freeze can be fatal that is shorter by up to one
// interval. Nothing but the holder's log and its [UnlockFunc] tell, the log within one
// interval after it goes on. Whoever must not write after that has to have the store itself
// refuse it.
//
// Of many that recover one stale lock exactly one gets it. Readers who share a lock keep one
// file fresh: a frozen one among them is replaced no sooner than the others have let go.
//
// # What is not guaranteed
//
// The lock is advisory. It keeps nobody from the directory who does not ask for it, and a
// lock file that a stranger removes or replaces is lost: the log and UnlockFunc tell of that
// as well. There is no order among those who wait, and readers that keep coming can keep a
// writer waiting.
//
// A process that is stopped within the microseconds in which it creates or recovers the lock
// file holds up all others who want to do so, until it goes on or ends; the error of [TryLock]
// tells then that it waited for that. A file that is there and not stale can be taken
// meanwhile.
//
// The age of the file is a matter of the machine's clock. One that is set forward by more than
// [StaleAfter] less [HeartbeatInterval] can make a holder that runs look frozen until its next
// refresh, and one that is set back puts a recovery off by as much.
//
// # File systems and systems
//
// The guarantees hold where all users share one kernel and the file system knows flock(2) or,
// on Windows, LockFileEx. On NFS, where flock is emulated between machines, they are only as
// good as the server's locks and the clients' caches of file attributes. On a disk that several
// machines share, their clocks have to agree to within a few seconds. A file system without
// such locks, or a system without them, is an error that matches [errors.ErrUnsupported].
//
// The lock file is created and recovered under a kernel lock on the directory itself, for
// which the directory must be readable; see [RecoveryFile] for where that is not possible.
// So a program that locks the directory itself with flock(2) holds up both.
package flock

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

const (
	// LockFile is the name of the lock file in its root. It is created with mode 0600 when it
	// is missing, stays when the lock is given up, is always empty, and must not be removed
	// while anybody uses the directory. Its execute permission for the owner is set for the
	// moment in which it is about to be removed as stale.
	LockFile = ".lock"

	// RecoveryFile is the name of a second file, on which those who create or recover the lock
	// file exclude each other where a directory cannot be locked: on Windows and on NFS. It
	// stays as well, and must not be removed either.
	RecoveryFile = ".lock.recovery"

	// HeartbeatInterval is how often a holder refreshes the modification time of the lock file,
	// counted from its last refresh.
	HeartbeatInterval = 10 * time.Second

	// StaleAfter is the age from which on a lock file is stale.
	StaleAfter = 30 * time.Second
)

var (
	// ErrLockUnsuccessful is matched by every error of [TryLock] and [TryRLock].
	ErrLockUnsuccessful = errors.New("store is locked")

	// ErrUnlockUnsuccessful is matched by every error of an [UnlockFunc].
	ErrUnlockUnsuccessful = errors.New("could not unlock store")
)

// UnlockFunc gives up the lock that came with it. It ends the refreshing of the file, waits
// for a refresh that is under way, unlocks, and closes the file; nothing is left running or
// open then, whatever it returns.
//
// It returns an error that matches [ErrUnlockUnsuccessful] when the lock file was removed or
// replaced in the meantime, so that somebody else may have had the lock as well. A file that
// took its place is left alone. It also does so when that cannot be found out, for example
// because the root was closed before, or when unlocking or closing fails.
//
// It can be called any number of times and concurrently: each call returns when the lock is
// given up, with the result of the first one.
type UnlockFunc func() error

// TryLock takes the exclusive lock of the directory root, which must stay open until the lock
// is given up.
//
// It tries at once, and then, with pauses that grow from 10 ms to 100 ms, until it succeeds
// or ctx ends. So with a context that has ended already there is exactly one try. A stale lock
// (see the package documentation) is recovered, except when ctx has ended.
//
// Every error matches [ErrLockUnsuccessful]. If ctx ended it also matches ctx.Err() and
// [context.Cause], and its text says what the last try met; otherwise it matches the reason
// why another try would be in vain, such as [io/fs.ErrPermission], and comes at once.
//
// The context ends the waiting only, never the lock. See [WithLogger] for the log.
func TryLock(ctx context.Context, root *os.Root) (UnlockFunc, error) {
	return lock(ctx, root, filelock.TryLock)
}

// TryRLock takes a shared lock of the directory root, which any number of callers can hold at
// the same time, but none while another one has the exclusive lock. In everything else it is
// like [TryLock].
func TryRLock(ctx context.Context, root *os.Root) (UnlockFunc, error) {
	return lock(ctx, root, filelock.TryRLock)
}

// WithLogger returns a context that has [TryLock] and [TryRLock] log to logger what happens
// to the lock while it is held: that its file was removed or replaced (once, as an error), or
// could not be refreshed (each time, as a warning). Without a logger, or with nil, they are
// silent. The logger's handler must not call the [UnlockFunc], which waits for it.
func WithLogger(ctx context.Context, logger *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey{}, logger)
}

type loggerKey struct{}
