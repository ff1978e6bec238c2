package touchfile_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func TestMain(m *testing.M) {
	childtest.Main(actor)
	os.Exit(leaktest.Main(m))
}

// setUp returns a TouchFile in a directory of its own, which does not exist yet.
func setUp(t *testing.T) *touchfile.TouchFile {
	leaktest.Check(t)
	return at(t, filepath.Join(t.TempDir(), "f"))
}

func at(t *testing.T, path string) *touchfile.TouchFile {
	t.Helper()
	tf, err := touchfile.NewTouchFile(path)
	require.NoError(t, err)
	return tf
}

func bg() context.Context { return context.Background() }

// mustBlock requires that the lock cannot be had now.
func mustBlock(t *testing.T, tf *touchfile.TouchFile, kind touchfile.LockType) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tf.Lock(ctx, kind), context.DeadlineExceeded)
}

// mustBeFree requires that the lock can be had now.
func mustBeFree(t *testing.T, tf *touchfile.TouchFile) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg(), childtest.Patience)
	defer cancel()
	require.NoError(t, tf.ExclusiveLock(ctx))
	require.NoError(t, tf.Unlock())
}

// start starts a helper process, which has the end of a pipe as its descriptor 3.
func start(t *testing.T, path string) *childtest.Child {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	return childtest.Start(t, path, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{r} })
}

// actor is the helper process.
func actor(path string, orders iter.Seq[string]) {
	tf, err := touchfile.NewTouchFile(path)
	if err != nil {
		panic(err)
	}
	pipe := os.NewFile(3, "pipe") // ends after this process
	runtime.LockOSThread()
	for order := range orders {
		switch order, arg, _ := strings.Cut(order, " "); order {
		case "lock":
			say(tf.ExclusiveLock(bg()), "locked")
		case "rlock":
			say(tf.SharedLock(bg()), "locked")
		case "try":
			ctx, cancel := context.WithTimeout(bg(), 20*time.Millisecond)
			say(tf.ExclusiveLock(ctx), "locked")
			cancel()
		case "forget": // a TouchFile that is locked and not used any more
			if tf, err := touchfile.NewTouchFile(path); err != nil {
				say(err, "")
			} else {
				say(tf.ExclusiveLock(bg()), "locked")
			}
		case "collect":
			collected := make(chan struct{})
			runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, collected)
			runtime.GC()
			<-collected
			runtime.GC()
			fmt.Println("collected")
		case "unlock":
			say(tf.Unlock(), "unlocked")
		case "count": // adds one to the number in the file arg, many times
			say(count(tf, arg), "counted")
		case "spawn": // a process that outlives this one
			cmd := exec.Command("sh", "-c", "echo spawned; exec cat >&2 <&3")
			cmd.Stdout, cmd.ExtraFiles = os.Stdout, []*os.File{pipe}
			if err := cmd.Start(); err != nil {
				say(err, "")
			}
		}
	}
}

func say(err error, event string) {
	if err != nil {
		event = err.Error()
	}
	fmt.Println(event)
}

const countGoroutines, countTimes = 4, 25

func count(tf *touchfile.TouchFile, path string) error {
	errs := make(chan error, countGoroutines)
	var wg sync.WaitGroup
	for range countGoroutines {
		wg.Go(func() {
			for range countTimes {
				err := tf.WithLock(bg(), touchfile.Exclusive, func() error {
					b, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					n, err := strconv.Atoi(string(b))
					if err != nil {
						return err
					}
					return os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o600)
				})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}
