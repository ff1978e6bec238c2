package filelocker_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Wherever a waiting reader is stopped, it neither keeps other readers out nor asks them, and
// gets in beside them in the end.
func TestStopAtEachStepOfAWaitingReader(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	eachStep(f, func(call string, n int) bool {
		g := f.hold("a")
		waiter := f.start()
		defer waiter.kill()
		tracer := waiter.inject(stopping.at(call, n))
		defer tracer.detach()
		waiter.tell("readhere a")
		stopped := n < 6 && tracer.stoppedWithin(100*time.Millisecond)
		if !stopped { // and must not be later
			tracer.detach()
			waiter.resume()
		}
		g.unlock()
		next := f.newLock("a")
		require.NoError(t, next.readWithin(5*time.Second), "while a reader is stopped after %s %d", call, n)
		if !stopped {
			waiter.expect("locked a") // maybe before next, which makes no difference
		}
		f.settle()
		next.mustNotBeAsked()
		if stopped {
			waiter.resume()
			waiter.expect("locked a")
		}
		f.settle()
		next.mustNotBeAsked()
		next.unlock()
		waiter.tell("unlock a")
		waiter.expect("unlocked a")
		f.mustHold()
		return stopped
	})
}

// Wherever a reader is stopped on its way out, the others still hold the lock, and the file is
// gone when all are.
func TestStopAtEachStepOfAReadersUnlock(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	slow := f.start()
	eachStep(f, func(call string, n int) bool {
		slow.tell("readhere a")
		slow.expect("locked a")
		g := f.read("a")
		tracer := slow.inject(stopping.at(call, n))
		slow.tell("unlock a")
		stopped := tracer.stopped(slow, "unlocked a")
		f.read("a").unlock()
		if n%2 == 0 {
			g.unlock()
		}
		if stopped {
			slow.resume()
			slow.expect("unlocked a")
		}
		tracer.detach()
		if n%2 == 1 {
			f.mustHold("a.lock")
			g.unlock()
		}
		g.mustNotBeAsked()
		f.mustHold()
		return stopped
	})
}

// Wherever a reader is stopped while it joins others, who leave meanwhile, it ends up with a
// lock that keeps writers out, and nothing stays.
func TestStopAtEachStepOfJoining(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	slow, writer := f.start(), f.start()
	eachStep(f, func(call string, n int) bool {
		g := f.read("a")
		tracer := slow.inject(stopping.at(call, n))
		slow.tell("readhere a")
		stopped := tracer.stopped(slow, "locked a")
		g.unlock()
		if stopped {
			slow.resume()
			slow.expect("locked a")
		}
		tracer.detach()
		f.mustHold("a.lock")
		writer.tell("lock a")
		slow.expect("asked a")
		require.Empty(t, writer.events)
		slow.unlock("a")
		writer.expect("locked a")
		writer.tell("unlock a")
		writer.expect("unlocked a")
		f.mustHold()
		return stopped
	})
}

// A request counts as long as its writer shows that it lives; a stopped one keeps nobody out.
func TestStoppedWriterAmongReaders(t *testing.T) {
	f := setUp(t)
	g := f.read("a")
	writer := f.start()
	writer.tell("lock a")
	g.mustBeAsked()
	writer.stopAtRest("a")
	other := f.start()
	other.tell("read a")
	inLine, done := f.queue(reading(), "a")
	other.settle()
	f.settle()
	require.Empty(t, other.events)
	require.Empty(t, done)
	then := time.Now().Add(-time.Minute) // as if it were stopped for so long
	require.NoError(t, os.Chtimes(f.path("a.stop"), then, then))
	other.expect("locked a")
	require.NoError(t, receive(f, done, "the reader in line"))
	f.settle()
	other.settle()
	inLine.mustNotBeAsked()
	writer.resume()
	inLine.mustBeAsked()
	other.expect("asked a")
	inLine.unlock()
	g.unlock()
	other.unlock("a")
	writer.expect("locked a")
	writer.unlock("a")
	f.mustHold()
}

// A writer that gets the lock before a reader that waits too is asked by that one.
func TestReaderAsksTheWriterThatOvertakesIt(t *testing.T) {
	f := setUp(t)
	for range 5 {
		first := f.hold("a")
		r := f.start()
		r.tell("read a")
		first.mustBeAsked()
		r.stop()
		first.unlock()
		second := f.hold("a")
		r.resume()
		second.mustBeAsked()
		second.unlock()
		r.expect("locked a")
		r.unlock("a")
		f.mustHold()
	}
}

// stop returns when the process has stopped.
func (c *child) stop() {
	c.f.Helper()
	c.f.Cleanup(c.kill) // it would not end by itself
	require.NoError(c.f, c.cmd.Process.Signal(syscall.SIGSTOP))
	require.Eventually(c.f, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		require.NoError(c.f, err)
		return bytes.Contains(stat, []byte(") T "))
	}, c.f.patience(), time.Millisecond, "the process does not stop")
}

// A reader that joins another one of its process costs no look at the disk but the one at the
// directory.
func TestJoiningInTheProcessTouchesNoFile(t *testing.T) {
	f := setUp(t)
	needStrace(f)
	c := f.start()
	c.read("a#1")
	c.settle()
	tracer := c.inject("renameat2:error=EIO")
	const n = 20
	for range n {
		c.tell("readhere a#2")
		c.expect("locked a#2")
		c.tell("unlock a#2")
		c.expect("unlocked a#2")
	}
	_ = tracer.cmd.Process.Signal(syscall.SIGINT)
	looks := 0
	for line := range tracer.lines {
		if strings.Contains(line, "newfstatat(AT_FDCWD") {
			looks++
			continue
		}
		require.NotRegexp(t, `^(\[pid +\d+\] )?\w+\(`, line, "a system call")
	}
	require.LessOrEqual(t, looks, n)
	c.unlock("a#1")
	f.mustHold()
}
