package dirwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
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
	stop   int // eventfd that ends the reader
	done   chan struct{}
	dirs   map[int32][]*subscription // by watch descriptor; nil when there is no instance
	adding int                       // watches under way, which keep the instance
	ended  int                       // watches that were removed
}

type subscription struct{ notify func([]byte) bool }

// subscribe asks for the watch with mu free: a file server that has gone is asked for the
// right to read the directory, and must not hold up those who watch others.
func subscribe(dir *os.File, remote bool, notify func([]byte) bool) (remove func(), err error) {
	in := &kernel
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.dirs == nil {
		if err := in.start(); err != nil {
			return nil, err
		}
	}
	in.adding++
	defer func() {
		in.adding--
		in.shutUnused()
	}()
	for {
		fd, ended := in.fd, in.ended
		in.mu.Unlock()
		wd, err := addWatch(fd, dir, maskFor(remote))
		in.mu.Lock()
		if err != nil {
			return nil, err
		}
		if ended != in.ended && len(in.dirs[wd]) == 0 {
			continue // the same directory's watch may have been given and removed in between
		}
		s := &subscription{notify}
		in.dirs[wd] = append(in.dirs[wd], s)
		return func() { in.remove(wd, s) }, nil
	}
}

// addWatch names the directory by its descriptor, so that no rename or symlink on the way to
// it can put the watch on another one.
func addWatch(fd int, dir *os.File, mask uint32) (int32, error) {
	conn, err := dir.SyscallConn()
	if err != nil {
		return 0, err
	}
	var wd int
	var werr error
	err = conn.Control(func(dirfd uintptr) {
		wd, werr = unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", dirfd), mask)
	})
	if err == nil && werr != nil {
		err = os.NewSyscallError("inotify_add_watch", werr)
	}
	return int32(wd), err
}

func (in *instance) start() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return os.NewSyscallError("eventfd", err)
	}
	in.fd, in.stop = fd, stop
	in.dirs = make(map[int32][]*subscription)
	in.done = make(chan struct{})
	go in.read(fd, stop, in.done)
	return nil
}

func (in *instance) remove(wd int32, s *subscription) {
	in.mu.Lock()
	defer in.mu.Unlock()
	subs, ok := in.dirs[wd]
	if !ok { // the directory itself is gone, and its watch with it
		subs = nil
	}
	subs = slices.DeleteFunc(slices.Clone(subs), func(o *subscription) bool { return o == s })
	if len(subs) > 0 {
		in.dirs[wd] = subs
		return
	}
	if ok {
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
	one := binary.NativeEndian.AppendUint64(nil, 1)
	_, _ = unix.Write(in.stop, one)
	fd, stop, done := in.fd, in.stop, in.done
	in.mu.Unlock()
	<-done
	unix.Close(fd)
	unix.Close(stop)
	in.mu.Lock()
}

// read blocks in poll(2) on a thread of its own instead of the runtime's poller: that one is
// edge-triggered and would be woken by each event of a burst, also during the pause.
func (in *instance) read(fd, stop int, done chan<- struct{}) {
	defer close(done)
	buf := make([]byte, 64<<10)
	idle := 0
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		quiet := time.Now()
		_, _ = unix.Poll(fds, -1)
		if time.Since(quiet) > maxPause {
			idle = 0 // a new burst, if it is one
		}
		if fds[1].Revents != 0 {
			return
		}
		n, err := unix.Read(fd, buf)
		if errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EAGAIN) {
			continue
		}
		if err == nil && in.tell(fd, buf[:n]) {
			idle = 0
			continue
		}
		// Nobody cared. A few such reads are free; in a burst the kernel collects the rest.
		if idle++; idle > 4 {
			time.Sleep(min(maxPause, 50*time.Microsecond<<min(idle-5, 5)))
		}
	}
}

func (in *instance) tell(fd int, events []byte) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.dirs != nil && in.fd == fd && in.dispatch(events)
}

func (in *instance) all() (mattered bool) {
	for _, subs := range in.dirs {
		for _, s := range subs {
			mattered = s.notify(nil) || mattered
		}
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
		for _, s := range in.dirs[event.Wd] {
			mattered = s.notify(name) || mattered
		}
		if event.Mask&unix.IN_IGNORED != 0 {
			delete(in.dirs, event.Wd)
			in.ended++
		}
	}
	return mattered
}
