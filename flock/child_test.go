package flock_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/filelock"
)

// actor is the helper process.
func actor(dir string, orders iter.Seq[string]) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		panic(err)
	}
	a := &act{root: root}
	runtime.LockOSThread()
	for order := range orders {
		a.obey(order)
	}
}

type act struct {
	root   *os.Root
	unlock flock.UnlockFunc
	mu     sync.Mutex // guards unlock and the output
}

func (a *act) say(event string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Println(event)
}

func (a *act) obey(order string) {
	ctx := flock.WithLogger(context.Background(), slog.New(&crier{a, slog.DiscardHandler}))
	switch order {
	case "lock":
		go a.take(ctx, flock.TryLock)
	case "here":
		a.take(ctx, flock.TryLock)
	case "rlock":
		go a.take(ctx, flock.TryRLock)
	case "try":
		go a.take(done(), flock.TryLock)
	case "contend": // in many goroutines, each of which says how it went
		for range 8 {
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
				defer cancel()
				a.take(ctx, flock.TryLock)
			}()
		}
	case "unlock":
		if err := a.unlock(); errors.Is(err, flock.ErrUnlockUnsuccessful) {
			a.say("lost")
		} else {
			a.say("unlocked")
		}
	case "spawn": // a process that outlives this one and says when it runs
		cmd := exec.Command("sh", "-c", "echo spawned; exec sleep 60")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			a.say(err.Error())
		}
	case "storm":
		a.storm()
	}
}

func (a *act) take(ctx context.Context, lock func(context.Context, *os.Root) (flock.UnlockFunc, error)) {
	unlock, err := lock(ctx, a.root)
	switch {
	case err == nil:
		a.mu.Lock()
		a.unlock = unlock
		a.mu.Unlock()
		a.say("locked")
	case errors.Is(err, flock.ErrLockUnsuccessful):
		a.say("failed")
	default:
		a.say(err.Error())
	}
}

// storm locks and unlocks until the process is killed. A second kernel lock tells whether it
// is alone. Often it makes the file stale before it unlocks, as if it had been frozen, and
// sometimes wakes up from that in the last moment.
func (a *act) storm() {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				if err := a.cycle(); err != nil {
					a.say("storm: " + err.Error())
					return
				}
				a.say("cycle")
			}
		})
	}
	wg.Wait()
}

func (a *act) cycle() error {
	shared := rand.IntN(4) == 0
	lock, probe := flock.TryLock, filelock.TryLock
	if shared {
		lock, probe = flock.TryRLock, filelock.TryRLock
	}
	unlock, err := lock(context.Background(), a.root)
	if err != nil {
		return err
	}
	f, err := a.root.OpenFile("inside", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := probe(f.Fd()); err != nil {
		return fmt.Errorf("not alone: %w", err)
	}
	_ = filelock.Unlock(f.Fd())
	_ = f.Close()
	path := filepath.Join(a.root.Name(), flock.LockFile)
	frozen := !shared && rand.IntN(3) > 0
	if frozen {
		long := time.Now().Add(-time.Hour)
		_ = os.Chtimes(path, long, long)
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			now := time.Now()
			_ = os.Chtimes(path, now, now)
		}
	}
	if err := unlock(); err != nil && !frozen {
		return err
	}
	return nil
}

// crier is a logger's handler that says what it gets.
type crier struct {
	a *act
	slog.Handler
}

func (c *crier) Enabled(context.Context, slog.Level) bool { return true }

func (c *crier) Handle(_ context.Context, r slog.Record) error {
	c.a.say("log " + r.Message)
	return nil
}
