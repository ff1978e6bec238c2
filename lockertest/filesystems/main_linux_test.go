package filesystems_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

var (
	full   = flag.Bool("full", false, "run all subtests of the suite on each file system")
	readme = flag.String("readme", "", "write the table into this `file`, between its two comments")
)

const (
	serveEnv  = "LOCKERTEST_DIR"      // of a process that serves the suite
	insideEnv = "LOCKERTEST_MOUNTING" // this process has mounts of its own
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		reading, done := shareReads()
		defer done()
		if err := lockertest.Serve(newLocker(dir), reading); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	childtest.Main(play)
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" {
		os.Exit(inside())
	}
	flag.Parse()
	// The tests wait more than they work, so that all file systems fit beside each other.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("20")
	}
	os.Exit(m.Run())
}

// inside runs the tests in a process with a mount namespace of its own, so that no mount
// outlives them, whatever ends them.
func inside() int {
	// The signal comes when the thread ends that has started the process.
	runtime.LockOSThread()
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Unshareflags also makes the mounts private (package syscall).
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err = cmd.Start()
	if err != nil {
		// Without the right to it, the tests say themselves what they need.
		cmd = exec.Command(exe, os.Args[1:]...)
		cmd.Env = append(os.Environ(), insideEnv+"=none")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = cmd.Start()
	}
	if err == nil {
		err = cmd.Wait()
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1) // -1 if a signal has ended it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// shareReads returns what makes Lock take a lock that readers share: the values of a HEAD
// request's context while that request lasts, which done ends.
func shareReads() (reading func(context.Context) context.Context, done func()) {
	inside, over, end := make(chan context.Context), make(chan struct{}), make(chan struct{})
	h := filelocker.ShareReads(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inside <- r.Context()
		<-end
	}))
	go func() {
		defer close(over)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodHead, "/files/a", nil))
	}()
	request := <-inside
	reading = func(ctx context.Context) context.Context { return valuesOf{ctx, request} }
	return reading, func() {
		close(end)
		<-over
	}
}

// valuesOf is a context with the values of another one.
type valuesOf struct {
	context.Context
	values context.Context
}

func (v valuesOf) Value(key any) any {
	if found := v.values.Value(key); found != nil {
		return found
	}
	return v.Context.Value(key)
}

// play is a helper process that holds the lock of one upload at a time in a directory.
func play(dir string, orders iter.Seq[string]) {
	lock, err := filelocker.New(dir).NewLock("a")
	if err != nil {
		fmt.Println(err)
		return
	}
	for o := range orders {
		switch o {
		case "lock":
			err = lock.Lock(context.Background(), func() { fmt.Println("asked") })
		case "unlock":
			err = lock.Unlock()
		}
		if err != nil {
			o = err.Error()
		}
		fmt.Println(o)
	}
}
