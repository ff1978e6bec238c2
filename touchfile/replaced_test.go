package touchfile_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/touchfile"
)

// A waiter that inherits the lock and cannot look at the name fails, and the next one tries.
func TestNameCannotBeRead(t *testing.T) {
	inLine(t, func(l *line) {
		dir := filepath.Dir(l.tf.Path())
		l.ask(bg(), "a", touchfile.Exclusive)
		l.ask(bg(), "b", touchfile.Exclusive)
		l.ask(bg(), "c", touchfile.Exclusive)
		require.NoError(t, os.Rename(dir, dir+".away"))
		require.NoError(t, os.WriteFile(dir, nil, 0o600))
		l.unlock()
		l.expect("a", "b failed", "c failed")
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Rename(dir+".away", dir))
		mustBeFree(t, at(t, l.tf.Path()))
		mustBeFree(t, l.tf)
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
		t.Run(name+" while many wait", func(t *testing.T) {
			inLine(t, func(l *line) {
				other := at(t, l.tf.Path())
				names := []string{"a", "b", "c", "d"}
				for i, name := range names {
					l.ask(bg(), name, touchfile.LockType(i/3))
				}
				l.expect("a")
				require.NoError(t, replace(l.tf.Path()))
				require.NoError(t, other.ExclusiveLock(bg()))
				l.unlock()
				l.expect()
				require.NoError(t, other.Unlock())
				for _, name := range names[1:] {
					time.Sleep(time.Second)
					synctest.Wait()
					l.expect(name)
					mustBlock(t, other, touchfile.Exclusive)
					l.unlock()
				}
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
				time.Sleep(time.Second)
				synctest.Wait()
				l.expect("writer")
				l.unlock()
			})
		})
	}
}
