package nfs_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// A guest's agent runs one process per connection. Both sides send frames, one JSON object
// each. A process whose connection ends is killed.
type frame struct {
	// To the agent.
	Start  *command `json:",omitempty"` // the first frame
	In     []byte   `json:",omitempty"`
	EOF    bool     `json:",omitempty"`
	Signal int      `json:",omitempty"` // answered by Did

	// From the agent.
	Out  []byte `json:",omitempty"`
	Err  []byte `json:",omitempty"`
	Did  int    `json:",omitempty"` // the signal that was sent
	Exit *exit  `json:",omitempty"` // the last frame; the process is gone
}

type command struct{ Args, Env []string }

type exit struct{ Status string }

const exitOK = "exit status 0"

func serveAgents(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serveAgent(conn)
	}
}

// serveAgent runs the process of one connection.
func serveAgent(conn io.ReadWriteCloser) {
	defer conn.Close()
	var first frame
	frames := json.NewDecoder(bufio.NewReader(conn))
	if frames.Decode(&first) != nil || first.Start == nil {
		return
	}
	out := &framer{to: json.NewEncoder(conn)}
	cmd := exec.Command(self(), first.Start.Args...)
	cmd.Env = append(os.Environ(), first.Start.Env...)
	cmd.Stdout = writer(func(b []byte) { out.send(frame{Out: b}) })
	cmd.Stderr = writer(func(b []byte) { out.send(frame{Err: b}) })
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		out.send(frame{Exit: &exit{err.Error()}})
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			var f frame
			if frames.Decode(&f) != nil {
				_ = cmd.Process.Kill()
				return
			}
			f.apply(cmd.Process, in, out)
		}
	}()
	status := exitOK
	if err := cmd.Wait(); err != nil {
		status = err.Error()
	}
	out.send(frame{Exit: &exit{status}})
	<-ended // the other side closes
}

func (f frame) apply(p *os.Process, in io.WriteCloser, out *framer) {
	switch {
	case f.EOF:
		_ = in.Close()
	case f.Signal != 0:
		_ = p.Signal(syscall.Signal(f.Signal))
		out.send(frame{Did: f.Signal})
	default:
		_, _ = in.Write(f.In) // a process that has ended says so itself
	}
}

// framer sends frames, from any goroutine.
type framer struct {
	mu sync.Mutex
	to *json.Encoder
}

// send does nothing if the other side is gone; whoever receives from it sees that.
func (f *framer) send(what frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.to.Encode(what)
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// remote is a process in a guest, seen from outside.
type remote struct {
	conn net.Conn
	to   *framer
	did  chan int
	gone chan struct{} // closed at the end; then err says how it was
	err  error
}

// startRemote starts a process through the agent at addr. Its output goes to the writers.
func startRemote(addr string, c command, stdout, stderr io.Writer) (*remote, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &remote{conn: conn, to: &framer{to: json.NewEncoder(conn)}, did: make(chan int, 1), gone: make(chan struct{})}
	r.to.send(frame{Start: &c})
	go r.listen(stdout, stderr)
	return r, nil
}

func (r *remote) listen(stdout, stderr io.Writer) {
	defer close(r.gone)
	defer r.conn.Close()
	frames := json.NewDecoder(bufio.NewReader(r.conn))
	for {
		var f frame
		if err := frames.Decode(&f); err != nil {
			r.err = fmt.Errorf("connection to the guest: %w", err)
			return
		}
		switch {
		case f.Exit != nil:
			if f.Exit.Status != exitOK {
				r.err = errors.New(f.Exit.Status)
			}
			return
		case f.Did != 0:
			r.did <- f.Did
		default:
			_, _ = stdout.Write(f.Out)
			_, _ = stderr.Write(f.Err)
		}
	}
}

// Write writes to the process's standard input.
func (r *remote) Write(b []byte) (int, error) {
	r.to.send(frame{In: b})
	return len(b), nil
}

func (r *remote) closeInput() { r.to.send(frame{EOF: true}) }

// signal returns when the signal was sent or the process is gone.
func (r *remote) signal(s syscall.Signal) {
	r.to.send(frame{Signal: int(s)})
	select {
	case <-r.did:
	case <-r.gone:
	}
}

// kill returns when the process is gone.
func (r *remote) kill() {
	r.signal(syscall.SIGKILL)
	<-r.gone
}
