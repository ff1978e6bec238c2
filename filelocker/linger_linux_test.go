package filelocker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// A directory stays open for the next request; a folder, of which there can be thousands, for a moment only.
func TestDirectoryStaysOpenForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		root, err := filepath.EvalSymlinks(l.Path)
		require.NoError(t, err)
		require.NoError(t, os.Mkdir(filepath.Join(root, "folder"), 0o777))
		isOpen := func(dir string) bool {
			synctest.Wait()
			for _, to := range descriptors() {
				if strings.TrimPrefix(to, root) == dir {
					return true
				}
			}
			return false
		}
		for range 2 {
			for _, id := range []string{"x", "folder/x"} {
				lock := newLock(t, l, id)
				require.NoError(t, lock.Lock(context.Background(), nothing))
				require.NoError(t, lock.Unlock())
			}
			require.True(t, isOpen(""))
			require.True(t, isOpen("/folder"))
			time.Sleep(2 * filelocker.Linger)
			require.True(t, isOpen(""))
			require.False(t, isOpen("/folder"))
			time.Sleep(filelocker.LingerInRoot - 3*filelocker.Linger)
			require.True(t, isOpen(""))
			time.Sleep(2 * filelocker.Linger)
			require.False(t, isOpen(""))
		}
	})
}

// It is not taken for the one that has come in its place.
func TestDirectoryIsMadeAnewBetweenRequests(t *testing.T) {
	f := setUp(t)
	f.dir = f.path("uploads")
	f.locker = f.kind.locker(f.dir, f.set)
	for range 10 {
		require.NoError(t, os.Mkdir(f.dir, 0o777))
		f.hold("a").unlock()
		require.NoError(t, os.Rename(f.dir, f.dir+".old"))
		require.Error(t, f.newLock("a").takeWithin(f.patience()))
		require.NoError(t, os.Mkdir(f.dir, 0o777))
		g := f.hold("a")
		f.mustHold("a.lock")
		g.unlock()
		require.NoError(t, os.RemoveAll(f.dir+".old"))
		require.NoError(t, os.RemoveAll(f.dir))
	}
}
