package line

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The first in line has the listening socket of an abstract address (unix(7)). The others have
// connected to that, and nobody accepts: they stand in its backlog, which the kernel keeps in
// order. Who leaves the first place accepts one connection and sends the listening socket
// through it, so that the others need not notice. Who gives up closes the connection, which stays in
// the backlog until it is found to lead to nobody.
//
// When the first one dies, the socket ends, and all connections with it: then everybody joins anew.

const (
	backlog = 4096 // less if net.core.somaxconn is; who finds it full has no place
	tries   = 20   // to join while somebody else is between making and opening the line
	between = 100 * time.Microsecond
)

var errNoLine = errors.New("no line")

type place struct {
	at       *unix.SockaddrUnix
	listener int      // of who is first, else -1
	ahead    *os.File // the connection to the first one; nil for that one itself
}

func join(name string) (place, error) {
	p := place{at: &unix.SockaddrUnix{Name: "@" + name + "/" + strconv.Itoa(os.Geteuid())}, listener: -1}
	err := p.enter()
	return p, err
}

// enter connects to the first one, or becomes it.
func (p *place) enter() error {
	for range tries {
		again, err := p.tryEnter()
		if !again {
			return err
		}
		time.Sleep(between)
	}
	return errNoLine
}

func (p *place) tryEnter() (again bool, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, os.NewSyscallError("socket", err)
	}
	err = unix.Connect(fd, p.at)
	switch {
	case err == nil:
		return false, p.follow(fd)
	case errors.Is(err, unix.ECONNREFUSED):
		if err = unix.Bind(fd, p.at); err == nil {
			err = unix.Listen(fd, backlog)
		}
	}
	if err == nil {
		p.listener = fd
		return false, nil
	}
	unix.Close(fd)
	return errors.Is(err, unix.EADDRINUSE), os.NewSyscallError("join a line", err)
}

func (p *place) follow(fd int) error {
	f := os.NewFile(uintptr(fd), p.at.Name)
	err := errNoLine
	if sameUser(fd) {
		err = f.SetReadDeadline(time.Time{}) // fails if the poller would not have it
	}
	if err != nil {
		f.Close()
		return err
	}
	p.ahead = f
	return nil
}

// sameUser keeps out strangers, who may know the name: they could delay everybody, or have a holder
// asked to let go for the sake of nobody.
func sameUser(fd int) bool {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(cred.Uid) == os.Geteuid()
}

func (p *place) first() bool { return p.ahead == nil }

func (p *place) wait(ctx context.Context) error {
	for p.ahead != nil {
		err := p.read(ctx)
		if ctx.Err() != nil && p.ahead != nil && p.listener < 0 {
			return ctx.Err()
		}
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			continue // of an earlier call's ctx
		}
		p.ahead.Close()
		p.ahead = nil
		if p.listener < 0 {
			_ = p.enter() // else each for itself
		}
	}
	return nil
}

// read waits for the listening socket.
func (p *place) read(ctx context.Context) error {
	conn, err := p.ahead.SyscallConn()
	if err != nil {
		return err
	}
	ahead := p.ahead
	_ = ahead.SetReadDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { _ = ahead.SetReadDeadline(time.Unix(1, 0)) })()
	return conn.Read(func(fd uintptr) (done bool) {
		p.listener, done = receive(int(fd))
		return done
	})
}

// receive returns the listening socket if that has been sent, or -1. done is false while there may
// still be something to come.
func receive(fd int) (listener int, done bool) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, b[:], oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return -1, false
		case err != nil || n == 0:
			return -1, true
		}
		return rights(oob[:oobn]), true
	}
}

func rights(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	for _, fd := range fds[1:] { // there is room for two
		unix.Close(fd)
	}
	return fds[0]
}

// leave also passes on what was sent to this place and not seen yet.
func (p *place) leave() (passed bool) {
	if p.ahead != nil {
		if conn, err := p.ahead.SyscallConn(); err == nil {
			_ = conn.Control(func(fd uintptr) { p.listener, _ = receive(int(fd)) })
		}
		p.ahead.Close()
		p.ahead = nil
	}
	if p.listener < 0 {
		return false
	}
	passed = pass(p.listener)
	unix.Close(p.listener)
	p.listener = -1
	return passed
}

// pass gives the line to the next one who is still there. Who comes while it ends joins anew.
func pass(listener int) bool {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
			continue
		}
		if err != nil {
			return false
		}
		if err = errNoLine; sameUser(fd) {
			err = unix.Sendmsg(fd, []byte{0}, unix.UnixRights(listener), nil, unix.MSG_NOSIGNAL)
		}
		unix.Close(fd)
		if err == nil {
			return true
		}
	}
}
