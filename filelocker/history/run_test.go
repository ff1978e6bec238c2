//go:build linux

package history_test

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// observe lets a fleet run and returns what it did.
func observe(t *testing.T, length time.Duration, flaw string) (*fleet, map[string]*history) {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with: -histories=%v -hold=%v -seed=%d", length, *longest, seed)
	f := &fleet{
		dir: t.TempDir(), journals: t.TempDir(), seed: seed, longest: *longest, flaw: flaw,
		deaths: make(map[int]fault),
	}
	require.NoError(t, os.Mkdir(filepath.Join(f.dir, "folder"), 0o775))
	require.NoError(t, f.run(t.Context(), length))
	all, err := f.histories()
	require.NoError(t, err)
	return f, all
}

// What processes see of their locks is what a lock is.
func TestHistories(t *testing.T) {
	f, all := observe(t, *lasting, "")
	var total verdict
	counts := make(map[string]int)
	var wait int64
	for _, id := range ids {
		total.add(all[id].check())
		count(counts, all[id])
		wait = max(wait, all[id].longestWait())
	}
	t.Logf("%d operations in %d parts, the largest of %d: %v", total.operations, total.parts, total.largest, counts)
	t.Logf("%d processes, %d killed, %d lock files removed, %d stops and .stop files left; %d parts with a loss that was told late; the longest Lock took %v",
		len(f.journal), len(f.deaths), len(f.removals), len(f.marks), total.late, time.Duration(wait))
	total.draw(t)
	require.Empty(t, len(total.bad), "parts of histories that are not legal")
	require.NotZero(t, counts["lock"])
	require.NotZero(t, counts["lock shared"])
	mustBeTidy(t, f.dir)
}

// draw draws the first illegal parts.
func (v verdict) draw(t *testing.T) {
	t.Helper()
	dir := *pictures
	if dir == "" && len(v.bad) > 0 {
		temp, err := os.MkdirTemp("", "histories-") // which outlives the test
		require.NoError(t, err)
		dir = temp
	}
	for n, p := range v.bad[:min(len(v.bad), 5)] {
		where, err := p.draw(dir, n)
		require.NoError(t, err)
		t.Errorf("the history of %q is not that of a lock, %s", p.id, where)
	}
}

func count(counts map[string]int, h *history) {
	for _, op := range h.operations {
		what := string(op.kind)
		if op.shared && op.kind == acquire {
			what += " shared"
		}
		if op.kind == release && op.outcome != done {
			what += ": " + op.outcome
		}
		counts[what]++
	}
	counts["others"] += len(h.notes)
}

// longestWait includes the Locks that ended without the lock.
func (h *history) longestWait() (longest int64) {
	for _, op := range slices.Concat(h.operations, h.notes) {
		if op.kind == acquire || op.outcome == timeout {
			longest = max(longest, op.ret-op.call)
		}
	}
	return longest
}

// mustBeTidy requires that the next holder of each upload removes what killed ones left.
func mustBeTidy(t *testing.T, dir string) {
	t.Helper()
	locker := filelocker.New(dir)
	for _, id := range ids {
		lock, err := locker.NewLock(id)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		require.NoError(t, lock.Lock(ctx, func() {}))
		cancel()
		require.NoError(t, lock.Unlock())
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			t.Errorf("%s was left behind", path)
		}
		return err
	}))
}
