package filelocker_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// foreign is content that no locker writes, and that none may remove.
const foreign = "foreign content\n"

// maxSteps bounds the length of one run.
const maxSteps = 64

// FuzzEvents has a stranger do things to the files of two uploads, in any order, while their
// locks are taken and given back by two lockers that know nothing of each other but the disk,
// as if they were two processes: one is told of changes by the kernel, the other one polls.
// Reports of changes that did not happen, and of reports that were lost, come in between.
// Two bytes are one step: what, and to which file or by whom; see [stranger.step].
//
// Whatever the order:
//   - two hold a lock only if both read, or if its name was tampered with;
//   - a release callback is called once at most, never for a Lock that failed, not without
//     a reason, and not for a reader when there are only readers;
//   - a holder whose file is gone is told, and so is one whose lock somebody waits for;
//   - a holder who gives back gets no error if the name was left alone and [ErrLockLost] if it
//     is somebody else's file, which stays; a second Unlock is refused and does nothing;
//   - who waits for a lock without end gets it when it is given back;
//   - a lock that is given back, or not waited for any more, leaves nothing at once, if the
//     stranger has not come near its files; a reader that looks at a writer's request just
//     when that gives up removes it a moment later;
//   - foreign content survives, and errors name the file;
//   - afterwards both locks can be had, and no file, descriptor or goroutine is left.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{
		"L\x00U\x00", "L\x00W\x01S\x00U\x00S\x00U\x01", // in turn
		"R\x00R\x01R\x02U\x00U\x01U\x02", "R\x00W\x01S\x00U\x00S\x00", // readers, and a writer after them
		"L\x00d\x00L\x01U\x01U\x00", "L\x00m\x02L\x01U\x00U\x01", // loss
		"f\x00L\x00d\x00L\x00U\x00", "e\x00L\x00o\x00L\x00U\x00", "s\x00L\x00U\x00", "x\x00L\x00U\x00", // not by a locker, empty, dead
		"e\x01L\x00t\x01e\x01U\x00", "f\x01L\x00W\x01S\x00U\x00", "L\x00e\x01W\x01d\x01S\x00U\x00", // requests
		"s\x02L\x00U\x00", "x\x06L\x00W\x01S\x00U\x00S\x00U\x01", "f\x02L\x00U\x00", "L\x00k\x02d\x00L\x01U\x00", "k\x00L\x00", // under construction
		"L\x00n\x03L\x04U\x00U\x04", "W\x00W\x01W\x02W\x00m\x00d\x01S\x00", "i\x00f\x00L\x00", "y\x00L\x00y\x01L\x01",
		"L\x00A\x00A\x02U\x00", "L\x01A\x00A\x02U\x00", "R\x00R\x01A\x00A\x01A\x02", // who waits asks
		"L\x00X\x00X\x02X\x00", "L\x01X\x02R\x00", "R\x00X\x00X\x02", // and gets it
		"L\x00d\x00T\x00U\x00", "R\x00R\x01d\x00T\x00", "L\x00s\x01m\x01T\x00v\x00T\x00", // told of the loss
		"L\x00v\x00g\x00g\x01R\x01v\x00g\x02U\x00", "P\x00P\x01P\x00W\x00S\x00", "W\x00L\x01W\x00C\x00U\x00", // events, polite ones, cancelled ones
		"L\x00Z\x00A\x01", "L\x01Z\x00A\x00", "R\x00Z\x00A\x01", "L\x00Z\x00d\x00T\x00", "R\x01Z\x00d\x00T\x00", // by a report, by a poll
		"L\x00Z\x00m\x02T\x00U\x00", "L\x00Z\x00X\x01Z\x00X\x00", "L\x00L\x03Z\x00A\x01A\x02",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		s := newStranger(setUpIn(t, ours, t.TempDir(), settings{}))
		for i := 0; i+1 < len(steps) && i < 2*maxSteps; i += 2 {
			s.step(steps[i], int(steps[i+1]))
		}
		s.finish()
	})
}

// names are the files of uploads a and b: lock, request, and the lock under construction, then that
// of one who waits.
func names() []string {
	var all, waiters []string
	for _, id := range []string{"a", "b"} {
		temps := filelocker.TempNames(id)
		all = append(all, id+".lock", id+".stop", temps[0])
		waiters = append(waiters, temps[1])
	}
	return append(all, waiters...)
}

// idOf is the upload that one of names belongs to.
func idOf(which int) string { return string("aaabbbab"[which%8]) }

// step does one thing. An unknown one is none.
func (s *stranger) step(what byte, which int) {
	if !s.busy() {
		s.foreign = s.foreigners()
	}
	all := names()
	name := all[which%len(all)]
	switch what {
	case 'L', 'R', 'W', 'Q', 'P', 'U', 'A', 'X', 'T', 'Z', 'C', 'S':
		s.useLocks(what, which)
	case 'v':
		filelocker.Report(s.dir, "")
	case 'g':
		filelocker.Report(s.dir, name)
	default:
		s.touch(what, which)
		return
	}
	for file := range s.foreign {
		content, err := os.ReadFile(s.path(file))
		require.NoError(s, err, "foreign content was removed")
		require.Equal(s, foreign, string(content), "foreign content was overwritten")
	}
}

// touch does something to the files.
func (s *stranger) touch(what byte, which int) {
	all := names()
	name := all[which%len(all)]
	other := func(more int) int { return (which/len(all) + which + more) % len(all) }
	switch what {
	case 'e':
		s.write(which, name, "")
	case 'f':
		s.write(which, name, foreign)
	case 's':
		s.write(which, name, noPID+"\n")
	case 'x':
		s.write(which, name, strings.Replace(string(filelocker.NewStamp()), strconv.Itoa(os.Getpid())+"\n", noPID+"\n", 1))
	case 'd', 'r':
		s.tamper(func() error { return os.RemoveAll(s.path(name)) }, true, which)
	case 'm', 'n':
		to := other(1)
		s.tamper(func() error { return os.Rename(s.path(name), s.path(all[to])) }, true, which, to)
	case 'k':
		to := other(2)
		s.tamper(func() error { return os.Link(s.path(name), s.path(all[to])) }, false, which, to)
	case 't':
		s.tamper(func() error { return os.Chtimes(s.path(name), time.Time{}, time.Now()) }, false, which)
	case 'o':
		s.tamper(func() error { return s.age(name) }, false, which)
	case 'i':
		s.write(which, name+".info", "{}")
	case 'j':
		s.tamper(func() error { return os.Remove(s.path(name + ".info")) }, false, which)
	case 'y':
		s.tamper(func() error { return os.Mkdir(s.path(name), 0o777) }, false, which)
	case 'z':
		s.tamper(func() error { return os.Symlink("elsewhere", s.path(name)) }, false, which)
	}
}

// write makes a file that is not there.
func (s *stranger) write(which int, name, content string) {
	s.tamper(func() error {
		f, err := os.OpenFile(s.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o664)
		if err != nil {
			return err
		}
		_, err = f.WriteString(content)
		return errors.Join(err, f.Close())
	}, false, which)
}

func (s *stranger) age(name string) error {
	past := time.Now().AddDate(-1, 0, 0)
	return os.Chtimes(s.path(name), past, past)
}

// tamper does something to files; moves says that a name may be another file's afterwards, or
// nobody's. That it cannot be done is as good.
func (s *stranger) tamper(do func() error, moves bool, which ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := names()
	for _, w := range which {
		delete(s.foreign, all[w%len(all)])
		id := idOf(w)
		s.touched[id]++
		if w %= len(all); moves && (w == 0 || w == 3) {
			s.moved[id]++
			s.movedAt[id] = time.Now()
		}
	}
	_ = do()
}

// foreigners are the files with foreign content. Those that come while locks are given back in
// the background do not count: between a holder's last look at its file and the removal, a
// stranger can put another one in its place, and no system could keep that.
func (s *stranger) foreigners() map[string]bool {
	found := make(map[string]bool)
	entries, err := os.ReadDir(s.dir)
	require.NoError(s, err)
	for _, e := range entries {
		if content, err := os.ReadFile(s.path(e.Name())); err == nil && string(content) == foreign {
			found[e.Name()] = true
		}
	}
	return found
}

// finish gives everything back and takes the stranger's own things away. What could be left
// of a lock is old by then, and goes with the next one.
func (s *stranger) finish() {
	s.settle()
	s.mustBeTold()
	for len(s.held) > 0 {
		require.NoError(s, s.give(s.held[0], true))
	}
	for name := range s.foreigners() {
		require.NoError(s, os.Remove(s.path(name)))
	}
	entries, err := os.ReadDir(s.dir)
	require.NoError(s, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(s, err)
		stamped := info.Size() > 0 && filepath.Ext(e.Name()) == ".stop" // no request, so nobody's to remove
		if !info.Mode().IsRegular() || stamped || strings.HasSuffix(e.Name(), ".info") {
			require.NoError(s, os.Remove(s.path(e.Name())))
			continue
		}
		require.NoError(s, s.age(e.Name()))
	}
	for _, id := range []string{"a", "b"} {
		if _, err := os.Lstat(s.path(id + ".stop")); err != nil { // what waiters leave goes with their request
			s.leave(id+".stop", "", time.Hour)
		}
		s.hold(id).unlock()
	}
	s.mustHold()
	s.mustBeQuiet()
	s.check()
}

// mustBeQuiet waits until the lockers run nothing in the background any more.
func (s *stranger) mustBeQuiet() {
	s.Helper()
	stacks := make([]byte, 256<<10)
	for deadline := time.After(s.patience()); ; {
		filelocker.CloseUnused()
		text := string(stacks[:runtime.Stack(stacks, true)])
		if filelocker.Quiet() && !strings.Contains(text, "/filelocker.(") && !strings.Contains(text, "/internal/dirwatch.") {
			return
		}
		select {
		case <-deadline:
			require.FailNow(s, "something runs on", text)
		case <-time.After(time.Millisecond):
		}
	}
}
