package lockertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"
)

// model is a locker that does what every locker owes, as simply as can be: the kernel's locks,
// looked at every millisecond, in one process as in many. With a flaw it fails to.
//
// Files are locked through their open file descriptions (F_OFD_SETLK): who holds has X.lock,
// who waits has X.want.w or X.want.r. X.held.w.PID.N and X.held.r.PID.N show who holds, for
// flaws alone.
type model struct {
	dir  string
	flaw flaw
	mu   *sync.Mutex // held during callbacks, with that flaw
	held *atomic.Int32
}

type modelLock struct {
	model
	id, name string

	hold sync.Mutex
	file *os.File // nil: not held
	mark string
	stop chan struct{}
	used bool

	leaked []*os.File
}

func newModel(dir string, f flaw) model { return model{dir, f, new(sync.Mutex), new(atomic.Int32)} }

// served is the model that another process serves.
func served(kind, dir string) handler.Locker {
	f, ok := strings.CutPrefix(kind, "model:")
	if !ok {
		return nil
	}
	return newModel(dir, flaw(f))
}

func (m model) NewLock(id string) (handler.Lock, error) {
	return &modelLock{model: m, id: id, name: filepath.Join(m.dir, m.flaw.name(id))}, nil
}

const tick = time.Millisecond

func (l *modelLock) Lock(ctx context.Context, release func()) error {
	if ctx.Err() != nil && l.flaw != grantsEnded {
		return l.flaw.timeout(ctx)
	}
	l.awaitCallbacks()
	reads := ctx.Value(readKey{}) != nil && l.flaw != readsAlone
	f, err := l.wait(ctx, reads)
	if err != nil {
		return err
	}
	return l.own(f, reads, release)
}

// awaitCallbacks returns when no callback is under way, with the flaw that one holds mu.
func (m model) awaitCallbacks() {
	m.mu.Lock()
	defer m.mu.Unlock()
}

// wait tries until it gets the lock, and shows meanwhile that it wants it.
func (l *modelLock) wait(ctx context.Context, reads bool) (*os.File, error) {
	if f := l.try(reads); f != nil {
		return f, nil
	}
	kind := ".want.w"
	if reads {
		kind = ".want.r"
	}
	w := &want{l: l, name: l.name + kind + l.flaw.wantSuffix()}
	late := live(w.name)
	w.post()
	quits := size(l.name + ".quit")
	for {
		select {
		case <-ctx.Done():
			if l.flaw == deafToTheEnd {
				ctx = context.Background()
				continue
			}
			w.giveUp(reads)
			return nil, l.flaw.timeout(ctx)
		case <-time.After(tick):
		}
		switch {
		case l.flaw == quitsForAll && size(l.name+".quit") > quits:
			w.withdraw(false)
			return nil, handler.ErrLockTimeout
		case l.flaw == oversleeps && late:
			continue
		}
		if f := l.try(reads); f != nil {
			w.withdraw(l.flaw == asksItself)
			return f, nil
		}
	}
}

// want is the file of a waiter, locked while it waits.
type want struct {
	l    *modelLock
	name string
	file *os.File
}

func (w *want) post() {
	w.file = open(w.name)
	setLock(w.file, unix.F_RDLCK)
}

func (w *want) withdraw(not bool) {
	if not {
		w.l.leak(w.file)
		return
	}
	free(w.file)
	if w.l.flaw == asksByName {
		os.Remove(w.name)
	}
}

func (w *want) giveUp(reads bool) {
	w.withdraw(w.l.flaw == keepsAsking)
	switch w.l.flaw {
	case quitsForAll:
		grow(w.l.name + ".quit")
	case takesAndFails:
		w.l.leak(w.l.try(reads))
	}
}

// try takes the lock if nobody has it. Readers let waiting writers go first.
func (l *modelLock) try(reads bool) *os.File {
	kind := int16(unix.F_WRLCK)
	if reads {
		if live(l.name+".want.w") && l.flaw != readersFirst {
			return nil
		}
		kind = unix.F_RDLCK
	}
	f := open(l.flaw.lockFile(l, reads))
	if l.flaw.grants(l) {
		return f
	}
	if l.flaw.refuses(l, reads) || !setLock(f, kind) {
		f.Close()
		return nil
	}
	return f
}

// own begins a hold: from now on it looks for those who want it.
func (l *modelLock) own(f *os.File, reads bool, release func()) error {
	if n := l.held.Add(1); n > 1000 && l.flaw == holdsFew {
		l.held.Add(-1)
		f.Close()
		return errors.New("too many locks")
	}
	l.hold.Lock()
	defer l.hold.Unlock()
	if l.flaw == usedOnce && l.used {
		release = func() {}
	}
	l.used = true
	l.file, l.stop = f, make(chan struct{})
	kind := "w"
	if reads {
		kind = "r"
	}
	l.mark = fmt.Sprintf("%s.held.%s.%d.%d", l.name, kind, os.Getpid(), f.Fd())
	open(l.mark).Close()
	stop := l.stop
	if l.flaw == haunts {
		stop = nil
	}
	go l.listen(stop, reads, release)
	return nil
}

// leak keeps a file open, also if nobody uses it any more.
func (l *modelLock) leak(f *os.File) {
	if f != nil {
		l.leaked = append(l.leaked, f)
	}
}

func (l *modelLock) listen(stop <-chan struct{}, reads bool, release func()) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(tick * time.Duration(1+l.held.Load()/20)): // many of them must not keep the machine busy
		}
		if _, err := os.Stat(l.dir); err != nil {
			return // a flawed one, after the test
		}
		if l.ask(stop, reads, release) {
			return
		}
	}
}

// ask asks the holder if somebody wants the lock, unless the hold is over by then.
func (l *modelLock) ask(stop <-chan struct{}, reads bool, release func()) (done bool) {
	l.hold.Lock()
	defer l.hold.Unlock()
	select {
	case <-stop:
		return true
	default:
	}
	if !l.flaw.wanted(l, reads) {
		return false
	}
	switch l.flaw {
	case nags:
		go release()
		return false
	case locksItselfOut:
		release()
	case callsBack:
		l.mu.Lock()
		defer l.mu.Unlock()
		release()
	default:
		go release()
	}
	return true
}

var errNotHeld = errors.New("not held")

func (l *modelLock) Unlock() error {
	l.hold.Lock()
	defer l.hold.Unlock()
	if l.file == nil {
		return l.flaw.notHeld(l)
	}
	close(l.stop)
	err := os.Remove(l.mark)
	free(l.file)
	l.file = nil
	for _, f := range l.leaked {
		free(f)
	}
	l.held.Add(-1)
	return err
}
