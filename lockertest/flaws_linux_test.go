package lockertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tus/tusd/v2/pkg/handler"
)

// flaw is what a model does wrong.
type flaw string

const (
	none           flaw = ""
	excludesNobody flaw = "excludes nobody"
	oneLock        flaw = "has one lock for all uploads"
	foldsCase      flaw = "takes upper case for lower case"
	leaves         flaw = "follows an ID out of its directory"
	ownProcess     flaw = "excludes in its own process only"
	outlivesCrash  flaw = "never takes over from the dead"
	allInherit     flaw = "lets all heirs of the dead in"
	robsStopped    flaw = "takes over from the stopped"
	reenters       flaw = "lets the holder in again"
	usedOnce       flaw = "never asks when used again"
	holdsFew       flaw = "cannot hold thousands"

	deaf           flaw = "never asks"
	deafToOthers   flaw = "hears its own process only"
	nosy           flaw = "asks without a reason"
	asksAll        flaw = "asks the holders of all uploads"
	nags           flaw = "asks again and again"
	haunts         flaw = "asks after Unlock"
	asksItself     flaw = "asks on its own behalf"
	keepsAsking    flaw = "asks after a wait in vain"
	asksByName     flaw = "asks on behalf of the dead"
	callsBack      flaw = "waits for the callback"
	locksItselfOut flaw = "cannot unlock in the callback"

	wrongError    flaw = "returns the error of the context"
	deafToTheEnd  flaw = "ignores the context"
	grantsEnded   flaw = "grants a free lock to an ended context"
	takesAndFails flaw = "takes the lock when the context ends"
	quitsForAll   flaw = "gives up for all waiters"
	oversleeps    flaw = "forgets all waiters but one"

	panicsOnUnlock flaw = "panics in a second Unlock"
	freesForeign   flaw = "frees what another holds"
	isLenient      flaw = "reports no Unlock in vain"

	readsAlone   flaw = "lets one reader in"
	readersAsk   flaw = "asks readers for readers"
	writesAside  flaw = "lets writers in beside readers"
	asksOneByOne flaw = "asks one reader after the other"
	readersFirst flaw = "lets readers overtake writers"
	isNotInOrder flaw = "claims order"
	isNeverIdle  flaw = "claims to be idle"
)

// name is the file name for an upload.
func (f flaw) name(id string) string {
	switch {
	case f == oneLock:
		return "all"
	case f == foldsCase:
		return hashed(strings.ToLower(id))
	case f == leaves && id == "../x":
		return id
	}
	return hashed(id)
}

func (f flaw) lockFile(l *modelLock, reads bool) string {
	switch {
	case f == ownProcess:
		return fmt.Sprint(l.name, ".", os.Getpid(), ".lock")
	case f == freesForeign:
		return fmt.Sprint(l.name, ".", size(l.name+".gen"), ".lock")
	case f == writesAside && reads:
		return l.name + ".r.lock"
	}
	return l.name + ".lock"
}

// wantSuffix is what a waiter's file is called besides.
func (f flaw) wantSuffix() string {
	if f == deafToOthers {
		return fmt.Sprint(".", os.Getpid())
	}
	return ""
}

// grants says whether Lock succeeds without the lock.
func (f flaw) grants(l *modelLock) bool {
	switch f {
	case excludesNobody:
		return true
	case reenters:
		l.hold.Lock()
		defer l.hold.Unlock()
		return l.file != nil
	case robsStopped:
		return anyHolder(l, stopped)
	case allInherit:
		return anyHolder(l, dead)
	}
	return false
}

// refuses says whether Lock does not even try.
func (f flaw) refuses(l *modelLock, reads bool) bool {
	return f == outlivesCrash && (len(l.marks(".w")) > 0 || !reads && len(l.marks(".r")) > 0)
}

// wanted says whether the holder has to be asked.
func (f flaw) wanted(l *modelLock, reads bool) bool {
	want := l.name + ".want"
	switch f {
	case deaf:
		return false
	case nosy:
		return true
	case asksAll:
		all, _ := filepath.Glob(filepath.Join(l.dir, "*.want.*"))
		for _, w := range all {
			if live(w) {
				return true
			}
		}
		return false
	case asksByName:
		all, _ := filepath.Glob(want + ".*")
		return len(all) > 0
	case readersAsk:
		if reads && len(l.marks(".r")) > 1 {
			return true
		}
	case asksOneByOne:
		if marks := l.marks(""); len(marks) > 0 && marks[0] != l.mark {
			return false
		}
	}
	suffix := f.wantSuffix()
	return live(want+".w"+suffix) || !reads && live(want+".r"+suffix)
}

func (f flaw) timeout(ctx context.Context) error {
	if f == wrongError {
		return ctx.Err()
	}
	return handler.ErrLockTimeout
}

func (f flaw) notHeld(l *modelLock) error {
	switch f {
	case panicsOnUnlock:
		panic("not held")
	case freesForeign:
		grow(l.name + ".gen")
	case isLenient:
		return nil
	}
	return errNotHeld
}

// marks are the files that show who holds.
func (l *modelLock) marks(kind string) []string {
	marks, _ := filepath.Glob(l.name + ".held" + kind + ".*")
	return marks
}

func anyHolder(l *modelLock, is func(pid int) bool) bool {
	for _, mark := range l.marks("") {
		parts := strings.Split(mark, ".")
		if pid, err := strconv.Atoi(parts[len(parts)-2]); err == nil && is(pid) {
			return true
		}
	}
	return false
}

func dead(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

func stopped(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "T")
}
