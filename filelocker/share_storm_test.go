package filelocker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

// stormEnv is how long the storm lasts; 2 s if it is not set.
const stormEnv = "FILELOCKER_TEST_STORM"

// In the storm, readers and writers of several processes, which are killed at random, share one
// lock. The writers rewrite a file in two halves, which are equal while nobody does.
const stormName = "content"

// storm is one process's part.
type storm struct {
	locker handler.Locker
	file   string
	stop   chan struct{}

	mu      sync.Mutex
	longest map[string]time.Duration
	tell    func(what string, longest time.Duration)
}

// storm takes part until the orders end.
func (a *actor) storm(dir string) int {
	s := &storm{locker: a.locker, file: filepath.Join(dir, stormName), stop: make(chan struct{})}
	s.tell = func(what string, longest time.Duration) { fmt.Println(what, int64(longest)) }
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(s.stop)
	}()
	if err := s.run(); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	return 0
}

func (s *storm) run() error {
	s.longest = make(map[string]time.Duration)
	var all sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		all.Go(func() {
			for n := 0; errs[i] == nil; n++ {
				select {
				case <-s.stop:
					return
				case <-time.After(rand.N(5 * time.Millisecond)):
				}
				if i == 0 {
					errs[i] = s.visit("writer", context.Background(), func(<-chan struct{}) error { return s.write(n) })
				} else {
					errs[i] = s.visit("reader", reading(), s.read)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// visit takes the lock and notes how long that and the visit took.
func (s *storm) visit(who string, ctx context.Context, do func(asked <-chan struct{}) error) (err error) {
	lock, err := s.locker.NewLock("a")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	asked := make(chan struct{})
	start := time.Now()
	if err := lock.Lock(ctx, func() { close(asked) }); err != nil {
		return fmt.Errorf("a %s: %w", who, err)
	}
	locked := time.Now()
	s.note(who+" waited", locked.Sub(start))
	defer func() {
		err = errors.Join(err, lock.Unlock())
		s.note(who+" held", time.Since(locked))
	}()
	return do(asked)
}

func (s *storm) note(what string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d > s.longest[what] {
		s.longest[what] = d
		s.tell(what, d)
	}
}

// read stays for a while or until it is asked to go, and looks twice.
func (s *storm) read(asked <-chan struct{}) error {
	before, err := os.ReadFile(s.file)
	if err != nil {
		return err
	}
	if err := whole(before); err != nil {
		return err
	}
	select {
	case <-asked:
	case <-time.After(rand.N(5 * time.Millisecond)):
	}
	after, err := os.ReadFile(s.file)
	if err == nil && !bytes.Equal(before, after) {
		err = fmt.Errorf("%q was there, and then %q", before, after)
	}
	return err
}

// whole requires that the halves are equal, or that their writer was killed in between.
func whole(content []byte) error {
	half := len(content) / 2
	if half != recordSize || bytes.Equal(content[:half], content[half:]) {
		return nil
	}
	var pid, n int
	if _, err := fmt.Sscanf(string(content), "%d-%d", &pid, &n); err != nil {
		return err
	}
	for deadline := time.After(10 * time.Second); !isGone(pid); {
		select {
		case <-deadline:
			return fmt.Errorf("%q, and its writer lives", content)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func isGone(pid int) bool {
	p, err := os.FindProcess(pid)
	return err != nil || p.Signal(syscall.Signal(0)) != nil
}

func (s *storm) write(n int) error {
	f, err := os.OpenFile(s.file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	record := recordOf(fmt.Sprint(os.Getpid()), n)
	for i := range 2 {
		if _, err := f.WriteAt([]byte(record), int64(i*recordSize)); err != nil {
			return err
		}
		for range 50 { // let somebody else come between, if anybody can
			runtime.Gosched()
		}
	}
	content, err := os.ReadFile(s.file)
	if err == nil && string(content) != record+record {
		err = fmt.Errorf("%q was written, and then %q is there", record, content)
	}
	return err
}

// stormy has the helper process take part.
func stormy(_ *exec.Cmd, spec *childSpec) { spec.Work = "storm" }

func TestStormOfReadersAndWriters(t *testing.T) {
	f := setUp(t)
	length := 2 * time.Second
	if set := os.Getenv(stormEnv); set != "" {
		var err error
		length, err = time.ParseDuration(set)
		require.NoError(t, err)
	}
	f.leave(stormName, strings.Repeat(recordOf("0", 0), 2), 0)
	own := &storm{locker: f.locker, file: f.path(stormName), stop: make(chan struct{})}
	longest, waits := make(map[string]time.Duration), make(chan string, 1<<16)
	own.tell = func(what string, d time.Duration) { waits <- fmt.Sprint(what, " ", int64(d)) }
	done := make(chan error, 1)
	go func() { done <- own.run() }()

	children := []*child{f.start(stormy), f.start(stormy), f.start(stormy)}
	kills := 0
	for end := time.After(length); ; kills++ {
		select {
		case <-end:
		case <-time.After(rand.N(100 * time.Millisecond)):
			i := rand.N(len(children))
			_ = children[i].cmd.Process.Kill()
			noteStorm(f, children[i].events, longest)
			children[i] = f.start(stormy)
			continue
		}
		break
	}
	close(own.stop)
	for _, c := range children {
		c.orders.Close()
		noteStorm(f, c.events, longest)
	}
	require.NoError(t, receive(f, done, "a goroutine of the storm"))
	close(waits)
	noteStorm(f, waits, longest)
	t.Logf("%d kills; longest: %v", kills, longest)
	f.hold("a").unlock()
	f.mustHold(stormName)
}

// noteStorm collects what a process tells until its end.
func noteStorm(f *fixture, events <-chan string, longest map[string]time.Duration) {
	f.Helper()
	for event := range events {
		var who, what string
		var d time.Duration
		_, err := fmt.Sscan(event, &who, &what, (*int64)(&d))
		require.NoError(f, err, event)
		longest[who+" "+what] = max(longest[who+" "+what], d)
	}
}
