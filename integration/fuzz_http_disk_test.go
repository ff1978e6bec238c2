package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// planted are the uploads that are there, with what they have of their 9 bytes. One is outside,
// for whoever gets there.
func (s *fuzzed) planted() []string {
	return []string{"a", "folder/b", "x.lock", "b.stop", "../outside", s.unnamed}
}

const begun = "abc"

// notALock has the name of a lock file and content that no locker writes.
const notALock = "y.lock"

// plant makes the directory what it was in the beginning.
func (s *fuzzed) plant(t *testing.T) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.dir))
	require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "folder"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, notALock), []byte(begun), 0o644))
	for _, id := range s.planted() {
		file := filepath.Join(s.dir, id)
		require.NoError(t, os.WriteFile(file, []byte(begun), 0o644))
		require.NoError(t, os.WriteFile(file+".info", []byte(infoOf(id, file)), 0o644))
	}
}

func infoOf(id, file string) string {
	return fmt.Sprintf(`{"ID":%q,"Size":9,"Storage":{"Type":"filestore","Path":%q,"InfoPath":%q}}`, id, file, file+".info")
}

// mustBeWhole requires that no upload has lost what it had or grown too long, and that the
// one without a name is as it was.
func (s *fuzzed) mustBeWhole(t *testing.T) {
	t.Helper()
	for _, id := range s.planted() {
		data, err := os.ReadFile(filepath.Join(s.dir, id))
		if errors.Is(err, fs.ErrNotExist) && id != s.unnamed {
			continue // deleted
		}
		require.NoError(t, err)
		require.Equal(t, begun, string(data[:min(len(data), len(begun))]), "the beginning of %s", id)
		require.LessOrEqual(t, len(data), 9, "the length of %s: %q", id, data)
	}
	file := filepath.Join(s.dir, s.unnamed)
	for _, untouched := range []string{file, filepath.Join(s.dir, notALock)} {
		data, err := os.ReadFile(untouched)
		require.NoError(t, err)
		require.Equal(t, begun, string(data), untouched)
	}
	info, err := os.ReadFile(file + ".info")
	require.NoError(t, err)
	require.Equal(t, infoOf(s.unnamed, file), string(info))
}

// outside is everything beside the upload directory, with its content.
func (s *fuzzed) outside(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	require.NoError(t, filepath.WalkDir(s.base, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == s.dir:
			return fs.SkipDir
		case e.IsDir():
			found[path] = ""
			return nil
		}
		content, err := os.ReadFile(path)
		found[path] = string(content)
		return err
	}))
	return found
}

// locks are the files of locks, which are no uploads.
func (s *fuzzed) locks(t *testing.T) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Name() == notALock {
			return nil
		}
		if ext := filepath.Ext(path); ext != ".lock" && ext != ".stop" && !strings.HasPrefix(e.Name(), ".lock-") {
			return nil
		}
		if _, err := os.Lstat(path + ".info"); err != nil {
			found = append(found, path)
		}
		return nil
	}))
	return found
}

// mustLock requires that the lock can be had and given back.
func (s *fuzzed) mustLock(t *testing.T, id string) {
	t.Helper()
	lock, err := s.locker.NewLock(id)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	require.NoError(t, lock.Lock(ctx, func() {}), "the lock of %s", id)
	require.NoError(t, lock.Unlock())
}
