package lockertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"
)

// errGone is returned for a lock of a process that has ended.
var errGone = errors.New("the process has ended")

// peer is the locker of another process.
type peer struct {
	c    *check
	cmd  *exec.Cmd
	in   io.WriteCloser
	gone chan struct{} // closed when the process has ended

	mu     sync.Mutex
	orders *json.Encoder
	locks  []*peerLock
}

// start starts another process and waits until it is ready.
func (c *check) start() *peer {
	c.Helper()
	cmd := c.f.Command(c, c.locker)
	p, out, err := c.run(cmd)
	if err != nil {
		c.Fatalf("start another process: %v", err)
	}
	c.peers = append(c.peers, p)
	isReady := make(chan error, 2)
	go p.listen(json.NewDecoder(bufio.NewReader(out)), isReady)
	if err := receive(c, isReady, "another process to call Serve"); err != nil {
		c.Fatalf("another process should call Serve: %v", err)
	}
	return p
}

func (c *check) run(cmd *exec.Cmd) (p *peer, out io.Reader, err error) {
	if cmd == nil {
		return nil, nil, errors.New("the factory's Command has returned nil")
	}
	if cmd.Stderr == nil {
		cmd.Stderr = c.Output()
	}
	in, err := cmd.StdinPipe()
	if err == nil {
		out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	return &peer{c: c, cmd: cmd, in: in, gone: make(chan struct{}), orders: json.NewEncoder(in)}, out, err
}

// listen passes on what the process says, until it ends.
func (p *peer) listen(events *json.Decoder, isReady chan<- error) {
	defer close(p.gone)
	for {
		var e event
		err := events.Decode(&e)
		switch {
		case err == nil && e.Is == ready:
			isReady <- nil
			continue
		case err == nil && p.tellLock(e):
			continue
		case !errors.Is(err, io.EOF):
			// The process writes what is not from Serve, or it was killed while it wrote.
			_ = p.cmd.Process.Kill()
		}
		_ = p.cmd.Wait()
		isReady <- errGone
		return
	}
}

// tellLock tells the lock that an event is about, if there is one.
func (p *peer) tellLock(e event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Lock < 0 || e.Lock >= len(p.locks) {
		return false
	}
	l := p.locks[e.Lock]
	switch e.Is {
	case made:
		l.made <- e.err()
	case locked:
		l.locked <- e.err()
	case unlocked:
		l.unlocked <- e.err()
	case asked:
		go l.releaseCallback()()
	default:
		return false
	}
	return true
}

func (p *peer) tell(o order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// If the process has ended, whoever waits for the answer is told by gone.
	_ = p.orders.Encode(o)
}

// end has the process end by itself.
func (p *peer) end() {
	p.c.Helper()
	_ = p.in.Close()
	receive(p.c, p.gone, "another process to end")
}

// kill kills the process, and returns when it is gone.
func (p *peer) kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// NewLock makes a lock object in the other process.
func (p *peer) NewLock(id string) (handler.Lock, error) {
	l := &peerLock{p: p, made: make(chan error, 1), locked: make(chan error, 1), unlocked: make(chan error, 1)}
	p.mu.Lock()
	l.number = len(p.locks)
	p.locks = append(p.locks, l)
	p.mu.Unlock()
	p.tell(order{Lock: l.number, Do: makeLock, ID: id})
	if err := l.answer(l.made); err != nil {
		return nil, err
	}
	return l, nil
}

// peerLock is a lock object of the other process. Its methods must not be called at once.
type peerLock struct {
	p                      *peer
	number                 int
	made, locked, unlocked chan error

	mu      sync.Mutex
	release func()
}

func (l *peerLock) releaseCallback() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.release
}

func (l *peerLock) answer(from <-chan error) error {
	select {
	case err := <-from:
		return err
	case <-l.p.gone:
		return errGone
	}
}

func (l *peerLock) Lock(ctx context.Context, release func()) error {
	l.mu.Lock()
	l.release = release
	l.mu.Unlock()
	do := takeLock
	if ctx.Value(readsKey{}) != nil {
		do = readLock
	}
	l.p.tell(order{Lock: l.number, Do: do})
	stop := context.AfterFunc(ctx, func() { l.p.tell(order{Lock: l.number, Do: cancelLock}) })
	defer stop()
	return l.answer(l.locked)
}

func (l *peerLock) Unlock() error {
	l.p.tell(order{Lock: l.number, Do: freeLock})
	return l.answer(l.unlocked)
}
