package touchfile_test

import (
	"context"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func goexit() { runtime.Goexit() }

// line records who got the lock, in a synctest bubble.
type line struct {
	t   *testing.T
	tf  *touchfile.TouchFile
	mu  sync.Mutex
	got []string
}

// ask has a goroutine ask for the lock, and waits until it has it or waits for it.
func (l *line) ask(ctx context.Context, name string, kind touchfile.LockType) {
	go func() {
		event := name
		if err := l.tf.Lock(ctx, kind); err != nil {
			event = name + " failed"
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.got = append(l.got, event)
	}()
	synctest.Wait()
}

func (l *line) unlock() {
	l.t.Helper()
	require.NoError(l.t, l.tf.Unlock())
	synctest.Wait()
}

// expect requires that these have got something since the last call, in any order.
func (l *line) expect(events ...string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.ElementsMatch(l.t, events, l.got)
	l.got = nil
}

func inLine(t *testing.T, f func(l *line)) {
	synctest.Test(t, func(t *testing.T) { f(&line{t: t, tf: setUp(t)}) })
}

func TestFirstComeFirstServed(t *testing.T) {
	inLine(t, func(l *line) {
		names := []string{"a", "b", "c", "d", "e"}
		for _, name := range names {
			l.ask(bg(), name, touchfile.Exclusive)
		}
		for _, name := range names {
			l.expect(name)
			l.unlock()
		}
		mustBeFree(l.t, l.tf)
	})
}

func TestReadersShare(t *testing.T) {
	inLine(t, func(l *line) {
		l.ask(bg(), "writer", touchfile.Exclusive)
		l.expect("writer")
		l.ask(bg(), "a", touchfile.Shared)
		l.ask(bg(), "b", touchfile.Shared)
		l.ask(bg(), "c", touchfile.Shared)
		l.expect() // a reader waits and does not turn the writer's lock into a shared one
		mustBlock(l.t, at(l.t, l.tf.Path()), touchfile.Shared)
		l.unlock()
		l.expect("a", "b", "c")
		for range 3 {
			mustBlock(l.t, at(l.t, l.tf.Path()), touchfile.Exclusive)
			l.unlock()
		}
		mustBeFree(l.t, at(l.t, l.tf.Path()))
	})
}

// A reader that comes after a waiting writer waits for it, so that readers that always overlap
// do not keep the writer out.
func TestWriterIsNotStarved(t *testing.T) {
	inLine(t, func(l *line) {
		l.ask(bg(), "a", touchfile.Shared)
		l.ask(bg(), "writer", touchfile.Exclusive)
		l.ask(bg(), "b", touchfile.Shared)
		l.ask(bg(), "c", touchfile.Shared)
		l.expect("a")
		l.unlock()
		l.expect("writer")
		l.unlock()
		l.expect("b", "c")
		l.unlock()
		l.unlock()
	})
}

// A writer that gives up lets in the readers that waited behind it.
func TestWriterGivesUp(t *testing.T) {
	inLine(t, func(l *line) {
		ctx, cancel := context.WithCancel(bg())
		l.ask(bg(), "a", touchfile.Shared)
		l.ask(ctx, "writer", touchfile.Exclusive)
		l.ask(bg(), "b", touchfile.Shared)
		l.expect("a")
		cancel()
		synctest.Wait()
		l.expect("writer failed", "b")
		l.unlock()
		l.unlock()
	})
}

// A Lock that waits, for another goroutine or for another process, holds up nobody else.
func TestWaitingBlocksNobody(t *testing.T) {
	for name, other := range map[string]bool{"the same object": false, "another one": true} {
		t.Run(name, func(t *testing.T) {
			inLine(t, func(l *line) {
				holder := l.tf
				if other {
					holder = at(t, l.tf.Path())
				}
				require.NoError(t, holder.ExclusiveLock(bg()))
				long, cancel := context.WithTimeout(bg(), time.Hour)
				defer cancel()
				l.ask(long, "long", touchfile.Exclusive)
				begin := time.Now()
				require.NotEmpty(t, l.tf.Path())
				for _, kind := range []touchfile.LockType{touchfile.Exclusive, touchfile.Shared} {
					mustBlock(t, l.tf, kind)
				}
				if !other {
					require.Zero(t, time.Since(begin)-40*time.Millisecond)
				} else {
					require.NoError(t, l.tf.Unlock(), "it is not held")
				}
				l.expect()
				require.NoError(t, holder.Unlock())
				time.Sleep(time.Second)
				synctest.Wait()
				l.expect("long")
				l.unlock()
			})
		})
	}
}

// When the one that waits for another process gives up, the next one takes its place.
func TestLeaderGivesUp(t *testing.T) {
	inLine(t, func(l *line) {
		holder := at(t, l.tf.Path())
		require.NoError(t, holder.ExclusiveLock(bg()))
		ctx, cancel := context.WithCancel(bg())
		l.ask(ctx, "first", touchfile.Exclusive)
		l.ask(bg(), "second", touchfile.Shared)
		l.ask(bg(), "third", touchfile.Shared)
		cancel()
		synctest.Wait()
		l.expect("first failed")
		require.NoError(t, holder.Unlock())
		time.Sleep(time.Second)
		synctest.Wait()
		l.expect("second", "third")
		l.unlock()
		l.unlock()
	})
}

// After the file was removed or replaced nobody gets the lock on the old one.
func TestReplacedFile(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name+" while others wait", func(t *testing.T) {
			inLine(t, func(l *line) {
				holder, successor := at(t, l.tf.Path()), at(t, l.tf.Path())
				require.NoError(t, holder.ExclusiveLock(bg()))
				l.ask(bg(), "waiter", touchfile.Exclusive)
				require.NoError(t, replace(l.tf.Path()))
				require.NoError(t, successor.ExclusiveLock(bg()))
				require.NoError(t, holder.Unlock())
				time.Sleep(time.Second)
				synctest.Wait()
				l.expect()
				require.NoError(t, successor.Unlock())
				time.Sleep(time.Second)
				synctest.Wait()
				l.expect("waiter")
				mustBlock(t, successor, touchfile.Shared)
				l.unlock()
			})
		})
		t.Run(name+" while others read", func(t *testing.T) {
			inLine(t, func(l *line) {
				other := at(t, l.tf.Path())
				l.ask(bg(), "a", touchfile.Shared)
				l.ask(bg(), "b", touchfile.Shared)
				l.expect("a", "b")
				require.NoError(t, replace(l.tf.Path()))
				require.NoError(t, other.ExclusiveLock(bg()))
				l.ask(bg(), "c", touchfile.Shared) // must not join those on the old file
				l.ask(bg(), "writer", touchfile.Exclusive)
				l.unlock()
				l.unlock()
				time.Sleep(time.Second)
				synctest.Wait()
				l.expect()
				require.NoError(t, other.Unlock())
				time.Sleep(time.Second)
				synctest.Wait()
				l.expect("c")
				mustBlock(t, other, touchfile.Exclusive)
				l.unlock()
				l.expect("writer")
				l.unlock()
			})
		})
	}
}
