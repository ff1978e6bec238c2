// Package mutex is a mutex with a name that all processes of a machine share.
//
// # Guarantee
//
// Of all goroutines, processes and users of a machine, at most one holds the mutex of a
// name at a time. A process that dies, however it dies, frees what it held; the children it
// started do not hold it on. A Releaser that is dropped without Release stays held until
// the process ends.
//
// # How
//
// On Unix the mutex is a kernel lock (flock(2)) on the file /tmp/juju-NAME. The file is empty,
// readable to everybody, made by whoever comes first and never removed: a removed file is
// how two processes come to hold two files of one name. The directory does not depend on
// TMPDIR or HOME, and has to be sticky if others may write to it. Symbolic links, files with
// several links and whatever is not a regular file are refused with an error, and nothing is
// ever read, written or truncated. A process of root that sudo started gives a file that it
// makes to the user of SUDO_UID and SUDO_GID.
//
// On Linux the abstract unix socket @/var/lib/juju/mutex-/NAME is held as well. It has no
// name in the file system: it keeps the promise also while somebody removes or replaces the
// file, between processes that see different /tmp directories, and towards older
// implementations that only know the socket. Sockets belong to a network namespace and
// files to a mount namespace; two processes exclude each other if they share either.
//
// On the other Unix systems, which have no such sockets, a second file is locked for the same
// reason, /var/tmp/.juju-NAME, made and checked like the first.
//
// The names of the first file and of the socket are those of github.com/juju/mutex and its v2
// of 2022, so that it and this package exclude each other, where they may open each other's
// files: juju's are private to the user who made them. Later ones of its versions have other
// names, and are not excluded.
//
// On Windows it is the kernel mutex Global\juju-mutex-NAME. One whose holder died without
// releasing it (abandoned) counts as acquired. While it is held it keeps one thread, since
// only the thread that took it can give it back.
//
// # Not guaranteed
//
// Everybody may hold the mutex, for ever, and make Acquire fail by putting something else in
// the place of a file that is not there yet. Order is first come, first served within a
// process and left to chance between processes. The mutex is not reentrant.
//
// On Linux, who removes the file while it is held lets in a second holder from another network
// namespace. On the other Unix systems it takes the removal of both files. The sticky
// directory leaves either to the owner of the file and to root.
//
// Where a file system ignores case, as on macOS, so does the mutex. Systems without flock(2)
// or kernel mutexes get an error that matches [errors.ErrUnsupported].
package mutex

import (
	"errors"
	"fmt"
	"os"
	"time"
)

var (
	// ErrTimeout is returned by [Acquire] when the Timeout passed first.
	ErrTimeout = errors.New("timeout acquiring mutex")
	// ErrCancelled is returned by [Acquire] when Cancel was signalled first.
	ErrCancelled = errors.New("cancelled acquiring mutex")
)

// maxName is the greatest length of a name.
const maxName = 40

// Spec says which mutex to acquire, and for how long to try.
type Spec struct {
	// Name starts with a letter and has at most 40 letters, digits and dashes (ASCII).
	Name string

	// Clock drives Delay and Timeout. It must be set; it is there for tests.
	Clock Clock

	// Delay is how often to look whether another process has let go, and must be positive.
	// It is used where the kernel does not tell: on Linux it tells when the holder has the
	// socket. A waiter that was told and yet came too late looks again within a millisecond
	// of Clock.
	Delay time.Duration

	// Timeout is how long to wait at most; 0 means for ever, and negative is an error. It
	// counts from the moment the mutex was found taken: one that is free is acquired
	// whatever the Timeout.
	Timeout time.Duration

	// Cancel ends the wait when it is closed or receives a value, also when that happened
	// before. It may be nil.
	Cancel <-chan struct{}
}

// Clock is the time as [Acquire] knows it.
type Clock interface {
	// After sends the time on the channel it returns, once, when the duration has passed.
	After(time.Duration) <-chan time.Time

	// Now is the current time.
	Now() time.Time
}

// Environment is where [Acquire] looks for SUDO_UID and SUDO_GID. It is the environment of
// the process, as package os has it.
type Environment interface {
	// LookupEnv is the value of a variable, and whether it is set.
	LookupEnv(string) (string, bool)

	// Getenv is the value of a variable, or empty.
	Getenv(string) string
}

// Releaser holds a mutex.
type Releaser interface {
	// Release gives the mutex back. Only the first call does; every call returns when it is
	// free. Release panics if the operating system does not let go of it.
	Release()
}

// Acquire waits until it holds the mutex that spec names.
//
// It fails with [ErrTimeout], with [ErrCancelled], at once with an error that says what is
// wrong with spec, and at once with what the system said when a retry would not help, such
// as when a file of the mutex's name may not be opened or is no regular file.
func Acquire(spec Spec) (Releaser, error) {
	return machine.acquire(spec)
}

func (s *Spec) validate() error {
	switch {
	case s.Name == "":
		return errors.New("mutex: no name")
	case len(s.Name) > maxName:
		return fmt.Errorf("mutex: name %q is longer than %d characters", s.Name, maxName)
	case !isLetter(s.Name[0]):
		return fmt.Errorf("mutex: name %q does not start with a letter", s.Name)
	case s.Clock == nil:
		return errors.New("mutex: no clock")
	case s.Delay <= 0:
		return fmt.Errorf("mutex: delay %v is not positive", s.Delay)
	case s.Timeout < 0:
		return fmt.Errorf("mutex: timeout %v is negative", s.Timeout)
	}
	for _, c := range []byte(s.Name) {
		if !isLetter(c) && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("mutex: name %q has a character other than letters, digits and dashes", s.Name)
		}
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

type osEnvironment struct{}

func (osEnvironment) LookupEnv(key string) (string, bool) { return os.LookupEnv(key) }
func (osEnvironment) Getenv(key string) string            { return os.Getenv(key) }
