package filelocker_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

func TestUnusualIDs(t *testing.T) {
	f := setUp(t)
	require.NoError(t, os.MkdirAll(f.path("folder/a"), 0o777))
	before := snapshot(f, f.dir)
	ids := []string{
		"a", "A", "a.lock", "a.stop", "a.info", ".a", "..a", "a..", "...", "-a", "a b", " ", "a\nb", "ä", "\xff", "%2F", "%", "~", "*",
		"folder/a", "folder/a/a", "folder/..a", "folder/...", strings.Repeat("x", 250), "folder/" + strings.Repeat("x", 250),
	}
	var grips []*grip
	for _, id := range ids {
		grips = append(grips, f.hold(id))
	}
	f.settle()
	for i, id := range ids {
		require.FileExists(t, f.path(id+".lock"))
		grips[i].mustNotBeAsked()
		require.Equal(t, handler.ErrLockTimeout, f.newLock(id).takeWithin(10*time.Millisecond), "%q", id)
		grips[i].mustBeAsked()
		grips[i].unlock()
	}
	require.Equal(t, before, snapshot(f, f.dir))
}

// A name that the file system would not take is an error before anything is done.
func TestLongIDs(t *testing.T) {
	f := setUp(t)
	long := strings.Repeat("x", 251)
	for _, id := range []string{long, "folder/" + long} {
		_, err := f.locker.NewLock(id)
		require.ErrorIs(t, err, filelocker.ErrInvalidID, "%d bytes and .lock are more than 255", len(long))
		require.Less(t, len(err.Error()), 200, "an error is read by people")
	}
	var refused handler.Error
	_, err := f.locker.NewLock("../x")
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 400, refused.HTTPResponse.StatusCode, "tusd answers with this status")
}

func TestFlatNames(t *testing.T) {
	f := setUp(t)
	f.set.Flat = true
	f = setUpIn(t, f.kind, f.dir, f.set)
	ids := []string{"a/b", "a%2Fb", "a%252Fb", "a\\b", "a:b", "a%5Cb", "a%3Ab", "a%b", "a_b", "a-b", "a", "b", "a//b", "a/", "a/b/", "./a", ".", "a/./b"}
	var grips []*grip
	for _, id := range ids {
		grips = append(grips, f.hold(id)) // each one is free: no two have the same file
	}
	entries, err := os.ReadDir(f.dir)
	require.NoError(t, err)
	require.Len(t, entries, len(ids))
	for _, e := range entries {
		require.True(t, e.Type().IsRegular(), "%s: no folders", e.Name())
	}
	f.mustBeBusy("a/b")
	other := f.start()
	other.tell("lock a\\b")
	grips[3].mustBeAsked()
	for _, g := range grips {
		g.unlock()
	}
	other.expect("locked a\\b")
	other.unlock("a\\b")
	f.mustHold()

	for _, id := range []string{"", "..", "../a", "a/../b", "/a", "a\x00b", strings.Repeat("a/", 100)} {
		_, err := f.locker.NewLock(id)
		require.ErrorIs(t, err, filelocker.ErrInvalidID, "%q", id)
	}
}
