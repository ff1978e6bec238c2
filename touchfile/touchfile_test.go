package touchfile_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

func TestNewTemporary(t *testing.T) {
	leaktest.Check(t)
	t.Setenv("TMPDIR", t.TempDir())
	a, b := at(t, ""), at(t, "")
	require.NotEqual(t, a.Path(), b.Path())
	require.True(t, filepath.IsAbs(a.Path()))
	require.FileExists(t, a.Path())
	require.NoError(t, a.ExclusiveLock(bg()))
	mustBeFree(t, b)
	require.NoError(t, a.Unlock())
	require.FileExists(t, a.Path(), "it is the caller's to remove")
	for _, tf := range []*touchfile.TouchFile{a, b} {
		require.NoError(t, os.Remove(tf.Path()))
	}
}

func TestNewWithPath(t *testing.T) {
	leaktest.Check(t)
	t.Chdir(t.TempDir())
	wd, err := os.Getwd()
	require.NoError(t, err)
	tf := at(t, "f")
	require.Equal(t, filepath.Join(wd, "f"), tf.Path())
	require.NoFileExists(t, tf.Path())
	t.Chdir(t.TempDir())
	require.NoError(t, tf.SharedLock(bg()))
	info, err := os.Stat(filepath.Join(wd, "f"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.NoError(t, tf.Unlock())
	require.FileExists(t, tf.Path())
}

// The content and the times of a file that is locked are somebody else's.
func TestFileIsNotTouched(t *testing.T) {
	tf := setUp(t)
	require.NoError(t, os.WriteFile(tf.Path(), []byte("content"), 0o640))
	before, err := os.Stat(tf.Path())
	require.NoError(t, err)
	for _, kind := range []touchfile.LockType{touchfile.Exclusive, touchfile.Shared} {
		require.NoError(t, tf.WithLock(bg(), kind, func() error { return nil }))
	}
	after, err := os.Stat(tf.Path())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestNotAFile(t *testing.T) {
	leaktest.Check(t)
	dir := t.TempDir()
	_, err := touchfile.NewTouchFile(dir)
	require.ErrorIs(t, err, syscall.EISDIR)
	require.ErrorContains(t, err, dir)

	_, err = touchfile.NewTouchFile(filepath.Join(dir, "missing", "f"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, filepath.Join(dir, "missing"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = touchfile.NewTouchFile(filepath.Join(dir, "file", "f"))
	require.Error(t, err)

	// The same when it becomes so only later.
	sub := filepath.Join(dir, "sub")
	require.NoError(t, os.Mkdir(sub, 0o700))
	tf := at(t, filepath.Join(sub, "f"))
	require.NoError(t, os.Mkdir(tf.Path(), 0o700))
	require.ErrorIs(t, tf.ExclusiveLock(bg()), syscall.EISDIR)
	require.ErrorIs(t, tf.SharedLock(bg()), syscall.EISDIR)
	require.NoError(t, os.RemoveAll(sub))
	err = tf.ExclusiveLock(bg())
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "directory of "+tf.Path())
	require.NoError(t, os.Mkdir(sub, 0o700))
	mustBeFree(t, tf)
}

func TestContext(t *testing.T) {
	tf := setUp(t)
	why := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(bg())
	cancel(why)
	for _, kind := range []touchfile.LockType{touchfile.Exclusive, touchfile.Shared} {
		err := tf.Lock(ctx, kind)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
		require.ErrorContains(t, err, tf.Path())
	}
	require.NoFileExists(t, tf.Path())
	require.NoError(t, tf.Unlock())

	other := at(t, tf.Path())
	for _, holder := range []*touchfile.TouchFile{tf, other} {
		require.NoError(t, holder.ExclusiveLock(bg()))
		mustBlock(t, tf, touchfile.Exclusive)
		mustBlock(t, tf, touchfile.Shared)
		require.NoError(t, holder.Unlock())
		mustBeFree(t, tf)
	}
}

// A link stands for what it points to, which the lock creates if it is not there.
func TestSymlinks(t *testing.T) {
	tf := setUp(t)
	dir := filepath.Dir(tf.Path())
	other := filepath.Join(dir, "other")
	link := at(t, filepath.Join(dir, "link"))
	require.NoError(t, os.Symlink(tf.Path(), link.Path()))
	require.NoError(t, link.ExclusiveLock(bg()))
	mustBlock(t, tf, touchfile.Shared)

	require.NoError(t, os.Remove(link.Path()))
	require.NoError(t, os.Symlink(other, link.Path()))
	require.NoError(t, link.Unlock())
	require.NoError(t, link.ExclusiveLock(bg()))
	mustBeFree(t, tf)
	mustBlock(t, at(t, other), touchfile.Shared)
	require.NoError(t, link.Unlock())

	require.NoError(t, os.Remove(link.Path()))
	require.NoError(t, os.Symlink(filepath.Join(dir, "missing", "f"), link.Path()))
	require.ErrorIs(t, link.ExclusiveLock(bg()), fs.ErrNotExist)
}

// ending is a context that ends after the first look at it.
type ending struct {
	context.Context
	end context.CancelCauseFunc
}

var errEnd = errors.New("the end")

func (c ending) Err() error {
	defer c.end(errEnd)
	return c.Context.Err()
}

func TestContextEndsMeanwhile(t *testing.T) {
	tf := setUp(t)
	ctx, cancel := context.WithCancelCause(bg())
	err := tf.ExclusiveLock(ending{ctx, cancel})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errEnd)
	mustBeFree(t, tf)
}

func TestUnknownType(t *testing.T) {
	tf := setUp(t)
	for _, kind := range []touchfile.LockType{-1, 2} {
		require.ErrorContains(t, tf.Lock(bg(), kind), "unknown lock type")
		require.ErrorContains(t, tf.WithLock(bg(), kind, func() error { panic("called") }), "unknown lock type")
	}
	require.NoFileExists(t, tf.Path())
}

func TestUnlockWhenNotHeld(t *testing.T) {
	tf := setUp(t)
	require.NoError(t, tf.Unlock())
	require.NoError(t, tf.SharedLock(bg()))
	require.NoError(t, tf.Unlock())
	require.NoError(t, tf.Unlock())
	mustBeFree(t, tf)
}

// Of many who give up the same lock at once one does it, and the others do nothing.
func TestConcurrentUnlock(t *testing.T) {
	tf := setUp(t)
	for range 100 {
		for _, holds := range []int{1, 3} { // one writer, three readers
			for range holds {
				require.NoError(t, tf.Lock(bg(), touchfile.LockType(holds/2)))
			}
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := tf.Unlock(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			mustBeFree(t, at(t, tf.Path()))
		}
	}
}

func TestTwoObjects(t *testing.T) {
	a := setUp(t)
	b := at(t, a.Path())
	require.NoError(t, a.ExclusiveLock(bg()))
	mustBlock(t, b, touchfile.Exclusive)
	mustBlock(t, b, touchfile.Shared)
	require.NoError(t, b.Unlock(), "which does not hold it")
	mustBlock(t, b, touchfile.Shared)
	require.NoError(t, a.Unlock())
	require.NoError(t, a.SharedLock(bg()))
	require.NoError(t, b.SharedLock(bg()))
	mustBlock(t, a, touchfile.Exclusive)
	mustBlock(t, b, touchfile.Exclusive)
	require.NoError(t, a.Unlock())
	mustBlock(t, a, touchfile.Exclusive)
	require.NoError(t, b.Unlock())
	mustBeFree(t, a)
}

func TestWithLock(t *testing.T) {
	tf := setUp(t)
	other := at(t, tf.Path())
	failure := errors.New("failure")
	err := tf.WithLock(bg(), touchfile.Exclusive, func() error {
		mustBlock(t, other, touchfile.Shared)
		return failure
	})
	require.Equal(t, failure, err, "unchanged")
	mustBeFree(t, other)

	require.PanicsWithValue(t, "panic", func() {
		_ = tf.WithLock(bg(), touchfile.Shared, func() error { panic("panic") })
	})
	mustBeFree(t, other)

	var wg sync.WaitGroup
	wg.Go(func() { // what t.FailNow does
		_ = tf.WithLock(bg(), touchfile.Exclusive, func() error { goexit(); return nil })
	})
	wg.Wait()
	mustBeFree(t, other)

	ctx, cancel := context.WithCancel(bg())
	cancel()
	err = tf.WithLock(ctx, touchfile.Exclusive, func() error { panic("called") })
	require.ErrorIs(t, err, context.Canceled)
}
