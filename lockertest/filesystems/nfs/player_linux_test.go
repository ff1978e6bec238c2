package nfs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// A player is a process in a guest that locks uploads as its orders say. Orders and what it
// tells are lines of JSON.

type order struct {
	Do    verb
	ID    string
	Times int           // of countUp
	File  string        // of countUp
	By    time.Duration // of setClock
}

type verb string

const (
	takeLock verb = "lock"
	freeLock verb = "unlock"
	countUp  verb = "count" // lock, add one to the number in File, unlock; Times times

	publishing verb = "publish" // try how a finished file can get a name that must be new
	setClock   verb = "clock"   // set the machine's clock forward
	listFiles  verb = "list"    // say what is in the locker's directory
)

type news struct {
	Is    verb // done with that order, or asked
	ID    string
	Error string   `json:",omitempty"`
	Lost  bool     `json:",omitempty"` // the error matches filelocker.ErrLockLost
	Means string   `json:",omitempty"` // of publishing
	Files []string `json:",omitempty"` // of listFiles
}

const asked verb = "asked" // the release callback was called

// play is what a player does until its input ends.
func play(l filelocker.FileLocker, in io.Reader, out io.Writer) error {
	p := &player{locker: l, to: json.NewEncoder(out), locks: make(map[string]handler.Lock)}
	var all sync.WaitGroup
	defer all.Wait()
	for orders := json.NewDecoder(bufio.NewReader(in)); ; {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		all.Go(func() { p.tell(o, p.obey(o)) })
	}
}

type player struct {
	locker filelocker.FileLocker

	mu    sync.Mutex
	to    *json.Encoder
	locks map[string]handler.Lock
}

func (p *player) tell(o order, err error) {
	n := news{Is: o.Do, ID: o.ID, Lost: errors.Is(err, filelocker.ErrLockLost)}
	switch o.Do {
	case publishing:
		n.Means = meansIn(p.locker.Path)
	case listFiles:
		n.Files, err = namesIn(p.locker.Path)
	}
	if err != nil {
		n.Error = err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.to.Encode(n) // if nobody listens, the input ends too
}

func (p *player) obey(o order) error {
	switch o.Do {
	case takeLock:
		lock, err := p.locker.NewLock(o.ID)
		if err == nil {
			err = lock.Lock(context.Background(), func() { p.tell(order{Do: asked, ID: o.ID}, nil) })
		}
		if err == nil {
			p.mu.Lock()
			p.locks[o.ID] = lock
			p.mu.Unlock()
		}
		return err
	case freeLock:
		p.mu.Lock()
		lock := p.locks[o.ID]
		p.mu.Unlock()
		if lock == nil {
			return errors.New("there is no such lock")
		}
		return lock.Unlock()
	case countUp:
		return p.count(o)
	case setClock:
		return turnClock(o.By)
	case publishing, listFiles:
		return nil
	}
	return fmt.Errorf("unknown order %q", o.Do)
}

// turnClock sets the machine's clock as an operator or a time server would.
func turnClock(by time.Duration) error {
	now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
	return os.NewSyscallError("settimeofday", unix.Settimeofday(&now))
}

func namesIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// meansIn finds the best means of publishing that the file system has.
func meansIn(dir string) string {
	from, to := filepath.Join(dir, "probe"), filepath.Join(dir, "probed")
	defer os.Remove(from)
	defer os.Remove(to)
	if os.WriteFile(from, nil, 0o666) != nil {
		return "none"
	}
	switch {
	case unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE) == nil:
		return "rename"
	case os.Link(from, to) == nil:
		return "link"
	}
	return "create"
}

func (p *player) count(o order) error {
	for range o.Times {
		lock, err := p.locker.NewLock(o.ID)
		if err != nil {
			return err
		}
		if err := lock.Lock(context.Background(), func() {}); err != nil {
			return err
		}
		err = increment(o.File)
		if uerr := lock.Unlock(); err == nil {
			err = uerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// increment opens the file anew, as close-to-open consistency wants it (nfs(5)), and has what
// it writes at the server before it returns.
func increment(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [16]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err = f.WriteAt(fmt.Appendf(nil, "%15d\n", number+1), 0); err != nil {
		return err
	}
	return f.Close()
}

// patience ends a test whose event does not come: a lost heartbeat takes 30 s, an attribute
// cache up to 60 s.
const patience = 4 * time.Minute

// actor is a player seen from outside.
type actor struct {
	*remote
	t      testing.TB
	name   string
	orders *json.Encoder
	told   chan news
}

// player starts a player with a locker over the directory dir of the export.
func (m *machine) player(t testing.TB, name, dir string, env ...string) *actor {
	t.Helper()
	a := &actor{t: t, name: name, told: make(chan news, 256)}
	read, write := io.Pipe()
	r, err := startRemote(m.agent, command{Env: append(env, roleEnv+"="+playerRole, dirEnv+"="+dir)}, write, os.Stderr)
	require.NoError(t, err)
	a.remote, a.orders = r, json.NewEncoder(r)
	go func() {
		<-r.gone
		_ = write.Close()
	}()
	go func() {
		defer close(a.told)
		for events := json.NewDecoder(read); ; {
			var n news
			if events.Decode(&n) != nil {
				return
			}
			a.told <- n
		}
	}()
	t.Cleanup(func() { _ = r.conn.Close() })
	return a
}

func (a *actor) order(do verb, id string) {
	a.t.Helper()
	require.NoError(a.t, a.orders.Encode(order{Do: do, ID: id}))
}

// next waits for the next news.
func (a *actor) next() news {
	a.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case n, ok := <-a.told:
		require.True(a.t, ok, "%s has ended: %v", a.name, a.err)
		return n
	case <-timer.C:
		a.t.Fatalf("%s: waited %v in vain for news", a.name, patience)
		panic("not reached")
	}
}

// hear waits for the next news, which must be this.
func (a *actor) hear(is verb, id string) news {
	a.t.Helper()
	n := a.next()
	require.Equal(a.t, []any{is, id}, []any{n.Is, n.ID}, "%s says %+v", a.name, n)
	return n
}

// take locks an upload, which has to be possible.
func (a *actor) take(id string) {
	a.t.Helper()
	a.order(takeLock, id)
	require.Empty(a.t, a.hear(takeLock, id).Error)
}

// free unlocks.
func (a *actor) free(id string) {
	a.t.Helper()
	a.order(freeLock, id)
	require.Empty(a.t, a.hear(freeLock, id).Error)
}

// silent requires that nothing was told.
func (a *actor) silent() {
	a.t.Helper()
	select {
	case n := <-a.told:
		a.t.Fatalf("%s says %+v", a.name, n)
	default:
	}
}

// runPlayer is the process of a player. Its intervals are the default ones unless pollEnv is set.
func runPlayer(dir string) error {
	l := filelocker.New(dir)
	if every, err := time.ParseDuration(os.Getenv(pollEnv)); err == nil {
		l.HolderPollInterval, l.AcquirerPollInterval = every, every
	}
	return play(l, os.Stdin, os.Stdout)
}
