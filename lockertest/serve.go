package lockertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/tus/tusd/v2/pkg/handler"
)

// Serve takes and gives back locks of l as a [Run] in another process wants it, until that is
// done with it. reading is the one of the [Factory], and may be nil if that has none.
//
// It uses standard input and output, which nothing else in the process must do. An error means
// that what came in was not from Run.
func Serve(l handler.Locker, reading func(ctx context.Context) context.Context) error {
	return serve(os.Stdin, os.Stdout, l, reading)
}

func serve(in io.Reader, out io.Writer, l handler.Locker, reading func(ctx context.Context) context.Context) error {
	s := &server{locker: l, reading: reading, out: json.NewEncoder(out), held: make(map[int]*served)}
	s.say(event{Is: ready})
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders := json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		err := orders.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.obey(ctx, &all, o)
		}
		if err != nil {
			return fmt.Errorf("lockertest: serve: %w", err)
		}
	}
}

// server carries out orders.
type server struct {
	locker  handler.Locker
	reading func(ctx context.Context) context.Context
	held    map[int]*served

	mu  sync.Mutex
	out *json.Encoder
}

// served is a lock object, with the end of its last Lock.
type served struct {
	lock   handler.Lock
	cancel context.CancelFunc
}

func (s *server) say(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// If nobody listens any more, the input ends too.
	_ = s.out.Encode(e)
}

func (s *server) obey(ctx context.Context, all *sync.WaitGroup, o order) error {
	if o.Do == makeLock {
		lock, err := s.locker.NewLock(o.ID)
		if err == nil {
			s.held[o.Lock] = &served{lock: lock, cancel: func() {}}
		}
		s.say(event{Lock: o.Lock, Is: made}.set(err))
		return nil
	}
	h := s.held[o.Lock]
	if h == nil {
		return fmt.Errorf("there is no lock %d", o.Lock)
	}
	switch o.Do {
	case takeLock, readLock:
		lockCtx, cancel := context.WithCancel(ctx)
		h.cancel = cancel
		if o.Do == readLock {
			if s.reading == nil {
				return errors.New("the factory has Reading, but Serve was called without it")
			}
			lockCtx = s.reading(lockCtx)
		}
		all.Go(func() {
			defer cancel()
			err := safely("Lock", func() error {
				return h.lock.Lock(lockCtx, func() { s.say(event{Lock: o.Lock, Is: asked}) })
			})
			s.say(event{Lock: o.Lock, Is: locked}.set(err))
		})
	case cancelLock:
		h.cancel()
	case freeLock:
		all.Go(func() {
			s.say(event{Lock: o.Lock, Is: unlocked}.set(safely("Unlock", h.lock.Unlock)))
		})
	default:
		return fmt.Errorf("unknown order %q", o.Do)
	}
	return nil
}
