//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// order tells a worker what to do.
type order struct {
	Do   string // take, let go, fill, cycles, usage
	Peer string
	Dir  string
	ID   string // of the upload, or what all IDs begin with

	// of take
	Delay, Within time.Duration
	Quiet         time.Duration // how long not to tell, as that takes a processor from those who go on
	Keep          bool          // do not let go when asked

	// of fill and cycles
	Count int

	// of cycles
	Goroutines  int
	From        int  // number of the first upload
	Each        bool // each upload is used once
	Folders     int  // go through as many, from FirstFolder on
	FirstFolder int
}

// event is a worker's answer.
type event struct {
	What string
	ID   string `json:",omitempty"`
	Err  string `json:",omitempty"`

	Called, Got, Unlocked int64 `json:",omitempty"` // see now

	Cycles *cycles `json:",omitempty"`
	Usage  *usage  `json:",omitempty"`
}

// worker takes locks as it is told. It ends with its input, and leaves what it holds.
type worker struct {
	mu   sync.Mutex
	out  *json.Encoder
	held map[string]*grip // by ID
	kept []handler.Lock
}

// grip is a lock that is being taken or held.
type grip struct {
	lock    handler.Lock
	got     chan struct{} // closed when the answer of Lock is noted
	release sync.Once
	done    chan struct{}
	ev      event
}

func work(in io.Reader, out io.Writer) error {
	w := &worker{out: json.NewEncoder(out), held: make(map[string]*grip)}
	orders := json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read orders: %w", err)
		}
		if err := w.obey(o); err != nil {
			w.say(event{What: o.Do, ID: o.ID, Err: err.Error()})
		}
	}
}

func (w *worker) say(ev event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Encode(ev) // nobody reads it any more, or it arrives
}

func (w *worker) obey(o order) error {
	switch o.Do {
	case "take":
		return w.take(o)
	case "let go":
		g := w.held[o.ID]
		delete(w.held, o.ID)
		if g == nil {
			return errors.New("not held")
		}
		go func() {
			<-g.got
			w.unlock(g)
			<-g.done
			w.say(g.ev)
		}()
		return nil
	case "fill":
		return w.fill(o)
	case "cycles":
		c, err := runCycles(o)
		if err != nil {
			return err
		}
		w.say(event{What: "cycles", Cycles: c})
		return nil
	case "usage":
		u, err := measureUsage()
		if err != nil {
			return err
		}
		w.say(event{What: "usage", Usage: u})
		return nil
	}
	return fmt.Errorf("no such order: %s", o.Do)
}

// take says "got" when it has the lock, or did not get it in time: then Got is 0. To the order
// to let go it answers with what it knows, also when it has been asked before by another one.
func (w *worker) take(o order) error {
	locker, err := newLocker(o.Peer, o.Dir)
	if err != nil {
		return err
	}
	g := &grip{got: make(chan struct{}), done: make(chan struct{})}
	g.ev = event{What: "gone", ID: o.ID}
	if g.lock, err = locker.NewLock(o.ID); err != nil {
		return err
	}
	w.held[o.ID] = g
	go func() {
		time.Sleep(o.Delay)
		ctx, cancel := context.WithTimeout(context.Background(), o.Within)
		defer cancel()
		g.ev.Called = now()
		err := g.lock.Lock(ctx, func() {
			if <-g.got; !o.Keep {
				w.unlock(g)
			}
		})
		if err == nil {
			g.ev.Got = now()
		}
		ev := g.ev
		close(g.got)
		ev.What = "got"
		if err != nil && !errors.Is(err, handler.ErrLockTimeout) {
			ev.Err = err.Error()
		}
		time.Sleep(o.Quiet)
		w.say(ev)
	}()
	return nil
}

// unlock gives the lock back, once.
func (w *worker) unlock(g *grip) {
	g.release.Do(func() {
		defer close(g.done)
		if g.ev.Got == 0 {
			return
		}
		g.ev.Unlocked = now()
		if err := g.lock.Unlock(); err != nil {
			g.ev.Err = err.Error()
		}
	})
}

// fill takes locks and keeps them.
func (w *worker) fill(o order) error {
	locker, err := newLocker(o.Peer, o.Dir)
	if err != nil {
		return err
	}
	for i := range o.Count {
		lock, err := locker.NewLock(o.ID + strconv.Itoa(i))
		if err == nil {
			err = lock.Lock(context.Background(), func() {})
		}
		if err != nil {
			return err
		}
		w.kept = append(w.kept, lock)
	}
	if strings.HasPrefix(o.Peer, floor) {
		if err := listenOnly(o.Dir); err != nil {
			return err
		}
	}
	w.say(event{What: "filled"})
	return nil
}

// play does what the role asks for. It is false where there is none: then the program is the
// bench itself.
func play(role string) (played bool, err error) {
	switch role {
	case "":
		return false, nil
	case "worker":
		return true, work(os.Stdin, os.Stdout)
	case "cycles":
		return true, cyclesOnly(os.Args[1:])
	case "server":
		return true, serve(os.Args[1:], os.Stdin, os.Stdout)
	}
	return true, fmt.Errorf("unknown role %q", role)
}
