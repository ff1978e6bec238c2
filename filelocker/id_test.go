package filelocker_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

func TestHostileIDs(t *testing.T) {
	for name, id := range map[string]string{
		"empty":              "",
		"parent":             "..",
		"leaves":             "../x",
		"leaves later":       "a/../../x",
		"parent in between":  "a/../b",
		"parent at the end":  "a/..",
		"absolute":           "/etc/passwd",
		"NUL":                "a\x00b",
		"name too long":      strings.Repeat("x", 251),
		"path too long":      strings.Repeat("a/", 3000) + "x",
		"folder only":        "a/",
		"dot":                ".",
		"dot at the end":     "a/.",
		"parent, many times": strings.Repeat("../", 100) + "x",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := filelocker.New(t.TempDir()).NewLock(id)
			require.ErrorIs(t, err, filelocker.ErrInvalidID)
			require.Less(t, len(err.Error()), 200, "the message must not repeat a long ID")
		})
	}
}

func TestUsualIDs(t *testing.T) {
	for _, id := range []string{"x", "24e533e02ec3bc40c387f1a0e460e216", "a/b", "a/b/c", "a..b", "..a", "a/...", ".hidden", "sp ace", "ü", "a:b+c",
		strings.Repeat("x", 250), "a.lock", "a.stop"} {
		_, err := filelocker.New(t.TempDir()).NewLock(id)
		require.NoError(t, err, id)
	}
}

// FuzzID: what is accepted is a file below the directory, the one that the stock locker would
// make, and no other ID's; a flat name tells its ID.
func FuzzID(f *testing.F) {
	for _, seed := range []string{"x", "a/b", "../x", "a/../b", "a//b", "./a", "a%2Fb", "%", "a\\b", "c:x", "a\x00", "", ".", "..", "/", strings.Repeat("x", 260)} {
		f.Add(seed)
	}
	decode := strings.NewReplacer("%2F", "/", "%25", "%", "%5C", `\`, "%3A", ":")
	f.Fuzz(func(t *testing.T, id string) {
		folder, name, err := filelocker.PlaceOf(id, false)
		if err == nil {
			where := filepath.Join(folder, name+".lock")
			require.True(t, filepath.IsLocal(where), where)
			require.Equal(t, filepath.Join(id+".lock"), where, "the file must be the stock locker's")
			require.NotContains(t, name, "/")
			require.NotContains(t, strings.Split(id, "/"), "..", "that folder may be a symlink, and the file another upload's")
			require.LessOrEqual(t, len(name)+len(".lock"), 255)
		}
		folder, name, err = filelocker.PlaceOf(id, true)
		if err == nil {
			require.Empty(t, folder)
			require.True(t, filepath.IsLocal(name+".lock"))
			require.NotContains(t, name, "/")
			require.Equal(t, id, decode.Replace(name), "two IDs must not share a name")
		}
	})
}
