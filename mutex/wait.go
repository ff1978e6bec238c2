package mutex

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// soon is the pause of a waiter who was told that the mutex is free and found it taken,
	// and of one who lets another process go first.
	soon = time.Millisecond

	// passes is how often in a row the mutex goes from goroutine to goroutine before it is
	// free for all.
	passes = 64
)

// errBusy says that somebody else holds the mutex.
var errBusy = errors.New("mutex is held")

// machine is where everybody's mutexes are. Tests have places of their own.
var machine = place{dir: machineDir, spare: spareDir, env: osEnvironment{}}

type place struct {
	dir    string
	spare  string // the directory of second lock files, if there are any
	env    Environment
	usable atomic.Bool // the directories have been checked
}

func (p *place) acquire(spec Spec) (Releaser, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	select {
	case <-spec.Cancel:
		return nil, ErrCancelled
	default:
	}
	l := limit{spec: spec}
	m := &mutex{path: p.dir + prefix + spec.Name}
	var t turn
	if mine := process.join(m.path); mine != nil {
		if t = l.queue(mine); l.over != nil {
			if process.abandon(m.path, mine) {
				return nil, l.over
			}
			t = <-mine // it came at the same moment
		}
	}
	if m.hold = t.hold; m.hold == nil {
		var err error
		if m.hold, err = p.await(&l, m.path, t.yield); err != nil {
			process.leave(m.path, turn{})
			return nil, err
		}
	}
	if errors.Is(l.over, ErrCancelled) {
		m.Release()
		return nil, l.over
	}
	return m, nil
}

// await acquires the mutex for the one goroutine of this process whose turn it is.
//
// It never blocks in flock(2): nothing ends that call but the lock, so whoever gave up would
// leave a thread behind. It tries, and between tries waits for the clock, and for the
// holder's socket where there is one, which takes no thread.
func (p *place) await(l *limit, path string, yield bool) (*hold, error) {
	if yield && l.over == nil {
		l.wait(nil, min(soon, l.spec.Delay))
	}
	var released <-chan struct{} // nil: nobody to listen to
	stop := func() {}
	defer func() { stop() }()
	for told, asked := false, false; ; {
		h, err := p.try(path, l.spec.Name)
		switch {
		case !errors.Is(err, errBusy):
			return h, err
		case l.over != nil:
			return nil, l.over
		case told:
			// Not listening this time bounds what a holder can do to its waiters by lying.
			stop()
			released, stop = nil, func() {}
			told = l.wait(nil, min(soon, l.spec.Delay))
		case !asked:
			released, stop = listen(l.spec.Name)
			asked = true // look again: it may have become free before anybody listened
		default:
			told = l.wait(released, l.spec.Delay)
			asked = released != nil && !told
		}
	}
}

// limit is what ends the wait of one call. Its timer starts with the first wait.
type limit struct {
	spec    Spec
	timeout <-chan time.Time
	over    error // why there is no time left
}

func (l *limit) start() {
	if l.timeout == nil && l.spec.Timeout > 0 {
		l.timeout = l.spec.Clock.After(l.spec.Timeout)
	}
}

// queue waits for the turn or the end of the limit.
func (l *limit) queue(mine <-chan turn) (t turn) {
	l.start()
	select {
	case t = <-mine:
	case <-l.timeout:
		l.over = ErrTimeout
	case <-l.spec.Cancel:
		l.over = ErrCancelled
	}
	return t
}

// wait waits for the event, the end of the pause, or the end of the limit, and says whether
// it was the event.
func (l *limit) wait(event <-chan struct{}, pause time.Duration) bool {
	l.start()
	select {
	case <-event:
		return true
	case <-l.spec.Clock.After(pause):
	case <-l.timeout:
		l.over = ErrTimeout
	case <-l.spec.Cancel:
		l.over = ErrCancelled
	}
	return false
}

// mutex is one that is held.
type mutex struct {
	path string
	hold *hold
	once sync.Once
}

func (m *mutex) Release() { m.once.Do(m.release) }

// release leaves the mutex to the next goroutine as it is, which spares it the kernel, if
// that is all that another process would find.
func (m *mutex) release() {
	var next turn
	if process.wanted(m.path) {
		next.yield = m.hold.wanted()
		if !next.yield && m.hold.passed < passes && m.hold.current(m.path) {
			m.hold.passed++
			if process.pass(m.path, turn{hold: m.hold}) {
				return
			}
		}
	}
	err := m.hold.release()
	process.leave(m.path, next)
	if err != nil {
		panic("mutex: release " + m.path + ": " + err.Error())
	}
}
