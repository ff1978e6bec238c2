package lockertest

import (
	"errors"

	"github.com/tus/tusd/v2/pkg/handler"
)

// Run and a process that serves it exchange lines of JSON.

// order is what Run tells the process. Each lock object has a number.
type order struct {
	Lock int
	Do   verb
	ID   string `json:",omitempty"` // of makeLock
}

type verb string

const (
	makeLock   verb = "new"    // answered by made
	takeLock   verb = "lock"   // answered by locked
	readLock   verb = "read"   // the same, for a reader
	cancelLock verb = "cancel" // ends the context of takeLock; not answered
	freeLock   verb = "unlock" // answered by unlocked
)

// event is what the process answers.
type event struct {
	Lock  int
	Is    fact
	Error string `json:",omitempty"`
	Code  code   `json:",omitempty"`
}

type fact string

const (
	ready    fact = "ready" // the first event of all
	made     fact = "made"
	locked   fact = "locked"
	asked    fact = "asked" // the release callback was called
	unlocked fact = "unlocked"
)

// code classifies an error.
type code string

const (
	timedOut code = "timeout" // handler.ErrLockTimeout
	panics   code = "panic"
)

// set puts err into the event.
func (e event) set(err error) event {
	var p *panicked
	switch {
	case err == nil:
	case errors.Is(err, handler.ErrLockTimeout):
		e.Error, e.Code = err.Error(), timedOut
	case errors.As(err, &p):
		e.Error, e.Code = err.Error(), panics
	default:
		e.Error = err.Error()
		if e.Error == "" {
			e.Error = "an error without a text"
		}
	}
	return e
}

// err is the error that was put into the event.
func (e event) err() error {
	switch {
	case e.Code == timedOut:
		return handler.ErrLockTimeout
	case e.Code == panics:
		return &panicked{e.Error}
	case e.Error != "":
		return errors.New(e.Error)
	}
	return nil
}
