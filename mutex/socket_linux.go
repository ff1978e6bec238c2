package mutex

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// spareDir is empty: the socket needs no second file.
const spareDir = ""

// address is the abstract socket of a mutex; the "@" stands for the NUL byte that makes it one.
func address(name string) string { return "@/var/lib/juju/mutex-/" + name }

// dying is for how long the copies of a socket that is given up may be around: a child has
// them from its start until it executes its program, which takes its time on a busy machine.
const dying = 100 * time.Millisecond

// bindSocket takes the socket's name, or returns errBusy. It listens so that waiters can
// connect; nobody is ever answered.
func bindSocket(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = bind(fd, &unix.SockaddrUnix{Name: address(name)}); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bind binds the socket, or returns errBusy.
//
// A name is taken for as long as any copy of its socket is open. Who holds the mutex listens,
// and who gave it up has shut the socket down; so a name that is taken and refuses
// connections is about to be free, or its holder is about to listen. Both take no time.
func bind(fd int, name *unix.SockaddrUnix) error {
	for start := time.Now(); ; time.Sleep(100 * time.Microsecond) {
		err := unix.Bind(fd, name)
		if !errors.Is(err, unix.EADDRINUSE) {
			return os.NewSyscallError("bind", err)
		}
		if err := unix.Connect(fd, name); !errors.Is(err, unix.ECONNREFUSED) || time.Since(start) > dying {
			return errBusy
		}
	}
}

// closeSocket gives the name back.
func closeSocket(fd int) error {
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	// close(2): after EINTR the descriptor is closed all the same.
	if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("close", err)
	}
	return nil
}

// hasWaiters says whether somebody has connected.
func hasWaiters(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// listen returns a channel that is closed when the holder of the socket, of whatever
// implementation, closes it or dies: the kernel then resets the connections it has not
// accepted. The channel is nil if nobody listens, or too many do. Call stop when done.
func listen(name string) (released <-chan struct{}, stop func()) {
	conn, err := net.Dial("unix", address(name))
	if err != nil {
		return nil, func() {}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = conn.Read(make([]byte, 1))
	}()
	return ended, func() {
		conn.Close()
		<-ended
	}
}
