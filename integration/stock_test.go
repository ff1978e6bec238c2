package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A fleet is upgraded server by server: stock tusd and ours work on one directory.
func TestMixedFleet(t *testing.T) {
	for name, kinds := range map[string]struct{ holder, other []option }{
		"stock holds": {[]option{stock()}, nil},
		"ours holds":  {nil, []option{stock()}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			holder, other := startServer(t, dir, kinds.holder...), startServer(t, dir, kinds.other...)
			t.Run("lets go", func(t *testing.T) {
				requireClean(t, dir, handOver(t, dir, holder.url, other.url))
			})
			u := create(t, other.url, content(1, 256<<10))
			t.Run("is killed", func(t *testing.T) {
				stall(t, holder.url, u, 0, 100<<10)
				u.awaitSize(t, dir, 100<<10)
				holder.kill(t)
				require.Equal(t, 100<<10, resume(t, other.url, u))
				u.finish(t, other.url, dir)
			})
		})
	}
}

// One upload goes back and forth between the two, a stalled PATCH at each turn.
func TestMixedFleetTakesTurns(t *testing.T) {
	const piece = 32 << 10
	dir := t.TempDir()
	servers := []*server{startServer(t, dir), startServer(t, dir, stock())}
	u := create(t, servers[0].url, content(2, 10*piece))
	var last *stalled
	for i := range 9 {
		s := servers[i%2]
		require.Equal(t, i*piece, resume(t, s.url, u))
		if last != nil {
			last.requireInterrupted(t)
		}
		last = stall(t, s.url, u, i*piece, piece)
		u.awaitSize(t, dir, (i+1)*piece)
	}
	u.finish(t, servers[1].url, dir)
	last.requireInterrupted(t)
	requireClean(t, dir, u)
}
