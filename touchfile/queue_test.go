package touchfile_test

import (
	"context"
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

// Goroutines that always wait for one another leave the file to others now and then.
func TestOthersHaveTheirChance(t *testing.T) {
	for name, kinds := range map[string][]touchfile.LockType{
		"writers": {touchfile.Exclusive, touchfile.Exclusive, touchfile.Exclusive},
		"both":    {touchfile.Exclusive, touchfile.Shared, touchfile.Shared},
	} {
		t.Run(name, func(t *testing.T) {
			inLine(t, func(l *line) {
				ctx, cancel := context.WithTimeout(bg(), time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for _, kind := range kinds {
					wg.Go(func() {
						for l.tf.Lock(ctx, kind) == nil {
							time.Sleep(time.Millisecond)
							require.NoError(t, l.tf.Unlock())
						}
					})
				}
				other := at(t, l.tf.Path())
				for range 10 {
					time.Sleep(time.Second)
					require.NoError(t, other.ExclusiveLock(ctx))
					time.Sleep(time.Second)
					require.NoError(t, other.Unlock())
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

// Nobody waits for the others' chance but at the end of a long stretch.
func TestRest(t *testing.T) {
	inLine(t, func(l *line) {
		for range 2 { // two short stretches are no long one
			l.ask(bg(), "a", touchfile.Exclusive)
			l.ask(bg(), "b", touchfile.Exclusive)
			l.unlock()
			l.expect("a", "b")
			l.unlock()
			time.Sleep(time.Second)
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			l.ask(bg(), name, touchfile.Exclusive)
		}
		l.unlock()
		l.expect("a", "b")
		time.Sleep(time.Second)
		l.unlock()
		l.expect()
		mustBeFree(t, at(t, l.tf.Path()))
		time.Sleep(time.Second)
		synctest.Wait()
		l.expect("c")
		l.unlock()
		l.expect("d")
		l.unlock()
	})
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
