package dirwatch

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a lock file goes through: created or moved in, removed or moved away, touched, and
// closed by the death of its holder. IN_EXCL_UNLINK keeps out the close of a file that has lost its
// name already, which would else be reported under the name of its successor.
const mask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// maskFor leaves the closes out on a remote file system: kernel locks there want files open
// for writing, so that each look of one would be reported to the others, and theirs to it.
func maskFor(remote bool) uint32 {
	if remote {
		return mask &^ unix.IN_CLOSE_WRITE
	}
	return mask
}

const maxPause = time.Millisecond

// kernel is the inotify instance of this process: it exists while anything is watched.
// max_user_instances is 128 by default and shared by all processes of a user.
var kernel instance

type instance struct {
	mu     sync.Mutex
	fd     int
	ready  *os.File // says when fd can be read, see newReadiness
	done   chan struct{}
	dirs   map[int32]*watched // by watch descriptor; nil when there is no instance
	told   []*watched         // those that the last read was about
	adding int                // watches under way, which keep the instance
	ended  int                // watches that were removed
	deaf   bool               // the reader is not to be woken, because nobody wants to hear anything
}

// subscribe asks for the watch with mu free: a file server that has gone is asked for the
// right to read the directory, and must not hold up those who watch others.
func subscribe(dir uintptr, remote bool, notify func([]byte, bool) bool, wanted func() bool) (kernelWatch, error) {
	in := &kernel
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.dirs == nil {
		if err := in.start(); err != nil {
			return kernelWatch{}, err
		}
	}
	in.adding++
	defer func() {
		in.adding--
		in.shutUnused()
	}()
	s := &subscription{dir, remote, notify, wanted}
	for {
		fd, ended := in.fd, in.ended
		in.mu.Unlock()
		wd, err := addWatch(fd, dir, maskFor(remote))
		in.mu.Lock()
		if err != nil {
			return kernelWatch{}, err
		}
		w := in.dirs[wd]
		if w == nil {
			if ended != in.ended {
				continue // the same directory's watch may have been given and removed in between
			}
			w = new(watched)
			in.dirs[wd] = w
		} else if err := w.unmute(fd); err != nil {
			return kernelWatch{}, err
		}
		w.subs = append(w.subs, s)
		in.arm()
		return kernelWatch{in.fd, func() error { return in.hear(wd, s) }, func() { in.remove(wd, s) }}, nil
	}
}

// addWatch names the directory by its descriptor, so that no rename or symlink on the way to
// it can put the watch on another one.
func addWatch(fd int, dir uintptr, mask uint32) (int32, error) {
	wd, err := unix.InotifyAddWatch(fd, "/proc/self/fd/"+strconv.FormatUint(uint64(dir), 10), mask)
	return int32(wd), os.NewSyscallError("inotify_add_watch", err)
}

func (in *instance) start() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	ready, err := newReadiness(fd)
	if err != nil {
		unix.Close(fd)
		return err
	}
	in.fd, in.ready, in.deaf = fd, ready, false
	in.dirs, in.told = make(map[int32]*watched), nil
	in.done = make(chan struct{})
	go in.read(fd, ready, in.done)
	return nil
}

// newReadiness returns an epoll instance that becomes readable once when fd does, and once more
// after each EPOLL_CTL_MOD. The runtime's own poller is edge-triggered: with fd itself, it would be woken by each
// event of a burst, also while nobody reads.
func newReadiness(fd int) (*os.File, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(ep, true); err == nil { // else os.NewFile keeps it from the poller
		err = control(ep, unix.EPOLL_CTL_ADD, fd)
	}
	if err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	f := os.NewFile(uintptr(ep), "inotify")
	if err = f.SetReadDeadline(time.Time{}); err != nil { // the poller would not have it
		f.Close()
		return nil, err
	}
	return f, nil
}

func control(ep, op, fd int) error {
	return unix.EpollCtl(ep, op, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)})
}

func (in *instance) remove(wd int32, s *subscription) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if w := in.dirs[wd]; w.has(s) { // else the directory itself is gone, and its watch with it
		w.subs = slices.DeleteFunc(w.subs, func(o *subscription) bool { return o == s })
		if len(w.subs) > 0 {
			return
		}
		delete(in.dirs, wd)
		in.ended++
		_, _ = unix.InotifyRmWatch(in.fd, uint32(wd))
	}
	in.shutUnused()
}

// shutUnused ends the instance if nothing is watched. mu is held.
func (in *instance) shutUnused() {
	if len(in.dirs) == 0 && in.adding == 0 && in.dirs != nil {
		in.shut()
	}
}

// shut ends the reader and waits for it. The reader may be waiting for mu, which the caller
// has: it is let in and finds nobody to tell.
func (in *instance) shut() {
	in.dirs = nil
	fd, ready, done := in.fd, in.ready, in.done
	in.mu.Unlock()
	_ = ready.Close()
	<-done
	unix.Close(fd)
	in.mu.Lock()
}

// read waits in the runtime's poller, so that the thread that hears of an event goes on with what
// it leads to: each wake-up of another thread takes longer than all else together.
func (in *instance) read(fd int, ready *os.File, done chan<- struct{}) {
	defer close(done)
	conn, err := ready.SyscallConn()
	if err != nil {
		return // closed already
	}
	buf := make([]byte, 64<<10)
	buf[0] = 0 // the kernel finds memory for it now, and not while a holder is asked
	for idle := 0; ; {
		quiet := time.Now()
		err := conn.Read(func(ep uintptr) bool {
			var events [1]unix.EpollEvent
			n, err := unix.EpollWait(int(ep), events[:], 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil {
			return
		}
		if time.Since(quiet) > maxPause {
			idle = 0 // a new burst, if it is one
		}
		n, err := unix.Read(fd, buf)
		if err == nil && in.tell(fd, buf[:n]) {
			idle = 0
			runtime.Gosched() // who was told goes first: to rearm takes up to 20 us, and can lose the processor
		} else if idle++; err == nil && idle > 4 {
			// Nobody cared. A few such reads are free; in a burst the kernel collects the rest.
			time.Sleep(min(maxPause, 50*time.Microsecond<<min(idle-5, 5)))
		}
		in.rearm(fd)
	}
}

func (in *instance) tell(fd int, events []byte) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.dirs != nil && in.fd == fd && in.dispatch(events)
}

func (in *instance) all() (mattered bool) {
	for _, w := range in.dirs {
		mattered = in.notify(w, nil, false) || mattered
	}
	return mattered
}

// dispatch walks the events that one read returned (inotify(7)).
func (in *instance) dispatch(buf []byte) (mattered bool) {
	for len(buf) >= unix.SizeofInotifyEvent {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		end := unix.SizeofInotifyEvent + int(event.Len)
		name := buf[unix.SizeofInotifyEvent:end]
		if i := slices.Index(name, 0); i >= 0 {
			name = name[:i]
		}
		buf = buf[end:]
		if event.Mask&unix.IN_Q_OVERFLOW != 0 {
			mattered = in.all() || mattered
			continue
		}
		if event.Mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT|unix.IN_IGNORED) != 0 {
			name = nil
		} else if len(name) == 0 {
			continue
		}
		appeared := name != nil && event.Mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0
		w := in.dirs[event.Wd]
		if w != nil {
			mattered = in.notify(w, name, appeared) || mattered
		}
		if event.Mask&unix.IN_IGNORED != 0 {
			if w != nil {
				w.subs = nil // it is among the told, and not to be muted
			}
			delete(in.dirs, event.Wd)
			in.ended++
		}
	}
	return mattered
}
