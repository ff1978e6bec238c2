package lockertest

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is the [testing.TB] of a subtest whose failure may be expected, which one of
// package testing would pass on to its parent. It outlives panics, and functions that hang.
//
// What it does not implement itself, such as Setenv, is that of the real one.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	helpers  map[string]bool // functions whose callers are to blame
	log      strings.Builder
	failed   bool
	skipped  bool
	over     bool
	cleanups []func()
	ctx      context.Context
}

// do runs f in a goroutine of its own, so that FailNow ends f alone, and waits for its end.
func (r *recorder) do(what string, limit time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.fail(fmt.Sprintf("%s panics: %v\n%s", what, p, debug.Stack()))
			}
		}()
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		r.fail(fmt.Sprintf("%s hangs:\n%s", what, stacks()))
	}
}

func stacks() []byte {
	text := make([]byte, 1<<18)
	return text[:runtime.Stack(text, true)]
}

// cleanUp runs the cleanup functions, last in, first out. One that hangs is left behind.
func (r *recorder) cleanUp(limit time.Duration) {
	for {
		r.mu.Lock()
		last := len(r.cleanups) - 1
		if last < 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		r.mu.Unlock()
		r.do("a cleanup", limit, f)
	}
}

// result ends the recording: what goroutines that were left behind report after it is lost.
func (r *recorder) result() result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	res := result{log: strings.TrimSpace(r.log.String())}
	switch {
	case r.failed:
		res.outcome = failed
	case r.skipped:
		res.outcome = skipped
	}
	return res
}

func (r *recorder) write(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.log.WriteString(strings.TrimRight(text, "\n") + "\n")
	}
}

// put logs text with the line that is to blame.
func (r *recorder) put(text string) { r.write(r.caller() + text) }

func (r *recorder) fail(text string) {
	r.write(text)
	r.Fail()
}

// caller is the place of the innermost caller that is no helper.
func (r *recorder) caller() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)])
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		f, more := frames.Next()
		if !r.helpers[f.Function] {
			return fmt.Sprintf("%s:%d: ", f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		if !more {
			return ""
		}
	}
}

func (r *recorder) Helper() {
	pc, _, _, ok := runtime.Caller(1)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.helpers == nil {
		r.helpers = make(map[string]bool)
	}
	r.helpers[runtime.FuncForPC(pc).Name()] = true
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Log(args ...any)            { r.put(fmt.Sprintln(args...)) }
func (r *recorder) Logf(f string, args ...any) { r.put(fmt.Sprintf(f, args...)) }

func (r *recorder) Error(args ...any)            { r.put(fmt.Sprintln(args...)); r.Fail() }
func (r *recorder) Errorf(f string, args ...any) { r.put(fmt.Sprintf(f, args...)); r.Fail() }
func (r *recorder) Fatal(args ...any)            { r.put(fmt.Sprintln(args...)); r.FailNow() }
func (r *recorder) Fatalf(f string, args ...any) { r.put(fmt.Sprintf(f, args...)); r.FailNow() }

func (r *recorder) Skip(args ...any)            { r.put(fmt.Sprintln(args...)); r.SkipNow() }
func (r *recorder) Skipf(f string, args ...any) { r.put(fmt.Sprintf(f, args...)); r.SkipNow() }

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

// Context ends before the cleanup functions run that were registered before the first call.
func (r *recorder) Context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		ctx, cancel := context.WithCancel(context.Background())
		r.ctx, r.cleanups = ctx, append(r.cleanups, cancel)
	}
	return r.ctx
}

// TempDir is not the real one, whose removal could fail the real test: a locker that is left
// behind may still be writing.
func (r *recorder) TempDir() string {
	r.Helper()
	dir, err := os.MkdirTemp("", "lockertest")
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			r.Errorf("%v", err)
		}
	})
	return dir
}

// Output writes to the log of the subtest.
func (r *recorder) Output() io.Writer { return logWriter{r} }

type logWriter struct{ r *recorder }

func (w logWriter) Write(b []byte) (int, error) {
	w.r.write(string(b))
	return len(b), nil
}
