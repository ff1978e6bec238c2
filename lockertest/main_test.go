package lockertest_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	stockfilelocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

// The environment of another process: which locker it serves, and in which directory.
const (
	serveEnv = "LOCKERTEST_SERVE"
	dirEnv   = "LOCKERTEST_DIR"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(serveEnv); kind != "" {
		os.Exit(serve(kind, os.Getenv(dirEnv)))
	}
	flag.Parse()
	// The tests wait more than they work, so that more of them fit than there are processors.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6")
	}
	os.Exit(m.Run())
}

func serve(kind, dir string) int {
	reading, done := shareReads()
	defer done()
	var l handler.Locker
	switch kind {
	case "ours":
		l = filelocker.New(dir)
	case "stock":
		l = stock(dir)
	case "nobody":
		fmt.Println("this is no event")
		return 0
	default:
		if l = served(kind, dir); l == nil {
			fmt.Fprintln(os.Stderr, "no locker is called", kind)
			return 2
		}
		reading = modelReading
	}
	if err := lockertest.Serve(l, reading); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// stock is tusd's file locker, with intervals that let the tests be short.
func stock(dir string) stockfilelocker.FileLocker {
	return stockfilelocker.FileLocker{Path: dir, HolderPollInterval: 5 * time.Millisecond, AcquirerPollInterval: 10 * time.Millisecond}
}

// again is a command that runs this test binary as another process.
func again(t testing.TB, kind, dir string) *exec.Cmd {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	// Under the race detector a process waits for a second before it ends.
	cmd.Env = append(os.Environ(), serveEnv+"="+kind, dirEnv+"="+dir, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// shareReads returns the Reading of our locker. It gives out the values of a HEAD request's
// context while that request lasts, which done ends.
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
	done = func() {
		close(end)
		<-over
	}
	return reading, done
}

type readKey struct{}

// modelReading is the Reading of the lockers that are made for these tests.
func modelReading(ctx context.Context) context.Context {
	return context.WithValue(ctx, readKey{}, true)
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
