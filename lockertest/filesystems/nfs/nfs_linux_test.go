package nfs_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNFS boots the guests once for all that is tested with them.
func TestNFS(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *site)
	}{
		{"HandOver", testHandOver},
		{"Killed", testKilled},
		{"Frozen", testFrozen},
		{"Clock", testClock},
		{"Restart", testRestart},
		{"Exclusion", testExclusion},
		{"Suite", testSuite},
	} {
		if t.Run(c.name, func(t *testing.T) { c.run(t, s) }) {
			s.parts++
		}
	}
	if *resultFile != "" && !t.Failed() && s.increments > 0 && s.subtests > 0 {
		s.row(versionOf(*mountOpts)).write(t, *resultFile)
	}
}

// share makes a directory of the export. It returns its path here and in the guests.
func (s *site) share(t testing.TB, name string) (here, there string) {
	t.Helper()
	here = filepath.Join(s.server.Dir, name)
	require.NoError(t, os.Mkdir(here, 0o777))
	return here, filepath.Join(exportPath, name)
}

// requireClean requires that nothing but these files is left in a directory of the export. A
// file that is removed while a process has it open loses its name when it is closed, soon after.
func requireClean(t testing.TB, here string, but ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		entries, err := os.ReadDir(here)
		require.NoError(t, err)
		found := []string{}
		for _, e := range entries {
			found = append(found, e.Name())
		}
		require.Equal(t, append([]string{}, but...), found)
	}, patience, tick)
}

// counters is two processes in each guest that add up under one lock, in two goroutines each.
type counters struct {
	file   string // here
	actors []*actor
}

const (
	countersPerGuest = 2
	countersEach     = 2
)

// startCounters has the guests count to n, about.
func (s *site) startCounters(t testing.TB, here, there string, n int) *counters {
	t.Helper()
	c := &counters{file: filepath.Join(here, "counter")}
	require.NoError(t, os.WriteFile(c.file, []byte("0"), 0o666))
	for i := range len(s.guests) * countersPerGuest {
		a := s.guests[i%2].player(t, "counter", there, pollEnv+"=250ms")
		c.actors = append(c.actors, a)
		for range countersEach {
			require.NoError(t, a.orders.Encode(order{
				Do: countUp, ID: "upload", Times: n / len(s.guests) / countersPerGuest / countersEach, File: filepath.Join(there, "counter"),
			}))
		}
	}
	return c
}

// number reads the counter.
func (c *counters) number(t testing.TB) int {
	t.Helper()
	content, err := os.ReadFile(c.file)
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(content)))
	require.NoError(t, err)
	return n
}

// wait waits until all have counted, without an error.
func (c *counters) wait(t testing.TB) {
	t.Helper()
	for _, a := range c.actors {
		for range countersEach {
			n, ok := <-a.told
			require.True(t, ok, "a counter has ended: %v", a.err)
			require.Empty(t, n.Error)
		}
	}
}

// Processes in both guests add up under one lock, and nothing is lost.
func testExclusion(t *testing.T, s *site) {
	here, there := s.share(t, "exclusion")
	start := time.Now()
	n := *cycles / 8 * 8
	c := s.startCounters(t, here, there, n)
	c.wait(t)
	require.Equal(t, n, c.number(t))
	s.increments += n
	requireClean(t, here, "counter")
	t.Logf("%d increments in %v", n, time.Since(start).Round(time.Second))
}

// A holder is asked by the other guest to let go, which it hears at its next look.
func testHandOver(t *testing.T, s *site) {
	here, there := s.share(t, "handover")
	a, b := s.guests[0].player(t, "a", there), s.guests[1].player(t, "b", there)
	a.order(publishing, "probe")
	s.publish = a.hear(publishing, "probe").Means
	t.Logf("a lock file gets its name by %s", s.publish)
	for range 4 {
		a.take("upload")
		start := time.Now()
		b.order(takeLock, "upload")
		a.hear(asked, "upload")
		b.silent()
		heard := time.Since(start)
		a.free("upload")
		require.Empty(t, b.hear(takeLock, "upload").Error)
		t.Logf("asked after %v, handed over after %v", heard.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
		b.free("upload")
		requireClean(t, here)
		a.silent()
		b.silent()
		a, b = b, a
	}
}

// tick is the time between two looks at what has to happen.
const tick = 10 * time.Millisecond

// beatLost is how old a heartbeat has to be for its holder to count as dead.
const beatLost = 30 * time.Second

// stampTime is when a lock file was last touched, by the server's clock.
func stampTime(t testing.TB, here, id string) time.Time {
	t.Helper()
	info, err := os.Stat(filepath.Join(here, id+".lock"))
	require.NoError(t, err)
	return info.ModTime()
}

// The lock of a process that is killed goes to the other guest when its heartbeat is lost, and
// not before. A process of its own guest, which knows better, gets it at once.
func testKilled(t *testing.T, s *site) {
	here, there := s.share(t, "killed")
	victim := s.guests[0].player(t, "victim", there)
	heir := s.guests[1].player(t, "heir", there)
	neighbour := s.guests[0].player(t, "neighbour", there)

	victim.take("upload")
	victim.take("other")
	heir.order(takeLock, "upload")
	victim.hear(asked, "upload")
	start := time.Now()
	victim.kill()
	beaten := stampTime(t, here, "upload")
	neighbour.take("other")
	t.Logf("the neighbour has the lock after %v", time.Since(start).Round(time.Millisecond))
	heir.silent()
	require.Empty(t, heir.hear(takeLock, "upload").Error)
	silence := stampTime(t, here, "upload").Sub(beaten)
	t.Logf("the heir has the lock after %v, %v after the last heartbeat", time.Since(start).Round(time.Millisecond), silence)
	require.GreaterOrEqual(t, silence, beatLost)
	heir.free("upload")
	neighbour.free("other")
	requireClean(t, here)
	heir.silent()
	neighbour.silent()
}

// A guest that is frozen for too long loses its lock, is told when it wakes, and leaves its
// successor's file alone.
func testFrozen(t *testing.T, s *site) {
	here, there := s.share(t, "frozen")
	sleeper := s.guests[0].player(t, "sleeper", there)
	heir := s.guests[1].player(t, "heir", there)
	for _, id := range []string{"told", "untold"} {
		sleeper.take(id)
	}
	start := time.Now()
	s.guests[0].freeze(t)
	thaw := sync.OnceFunc(func() { s.guests[0].thaw(t) })
	defer thaw()
	for _, id := range []string{"told", "untold"} {
		beaten := stampTime(t, here, id)
		heir.take(id)
		silence := stampTime(t, here, id).Sub(beaten)
		t.Logf("%s: the heir has the lock after %v, %v after the last heartbeat", id, time.Since(start).Round(time.Millisecond), silence)
		require.GreaterOrEqual(t, silence, beatLost)
	}
	thaw()
	start = time.Now()
	// One lock is given back as soon as it can be, the other when the loss was told.
	sleeper.order(freeLock, "untold")
	var wasTold bool
	for range 2 {
		n := sleeper.next()
		if n.Is == freeLock {
			require.Equal(t, "untold", n.ID)
			require.True(t, n.Lost, "%+v", n)
			break
		}
		require.Equal(t, asked, n.Is)
		wasTold = wasTold || n.ID == "told"
	}
	t.Logf("Unlock has returned after %v", time.Since(start).Round(time.Millisecond))
	require.FileExists(t, filepath.Join(here, "untold.lock"))
	for !wasTold {
		n := sleeper.next()
		require.Equal(t, asked, n.Is)
		wasTold = n.ID == "told"
	}
	t.Logf("the loss was told after %v", time.Since(start).Round(time.Millisecond))
	sleeper.order(freeLock, "told")
	for {
		n := sleeper.next()
		if n.Is == asked {
			continue
		}
		require.True(t, n.Lost, "%+v", n)
		break
	}
	require.FileExists(t, filepath.Join(here, "told.lock"))
	heir.silent()
	heir.free("told")
	heir.free("untold")
	requireClean(t, here)
	sleeper.take("told")
	sleeper.free("told")
}

// The server ends in the middle of everything and comes back after the heartbeats of all
// holders are lost by its clock. Nobody loses a lock, and all goes on.
func testRestart(t *testing.T, s *site) {
	here, there := s.share(t, "restart")
	countHere, countThere := s.share(t, "restartcount")
	holder := s.guests[0].player(t, "holder", there)
	waiter := s.guests[1].player(t, "waiter", there)
	for _, id := range []string{"quiet", "wanted"} {
		holder.take(id)
	}
	waiter.order(takeLock, "wanted")
	holder.hear(asked, "wanted")
	n := max(*cycles/4/8, 2) * 8
	c := s.startCounters(t, countHere, countThere, n)
	require.Eventually(t, func() bool { return c.number(t) > 8 }, patience, tick)

	s.server.kill()
	stopped := c.number(t)
	down := time.NewTimer(beatLost + 5*time.Second)
	defer down.Stop()
	<-down.C
	require.Equal(t, stopped, c.number(t))
	s.server.start(t)
	start := time.Now()
	c.wait(t)
	require.Equal(t, n, c.number(t))
	s.increments += n
	t.Logf("%d increments, of them %d after the restart, which took %v", n, n-stopped, time.Since(start).Round(time.Second))

	waiter.silent()
	holder.silent()
	waiter.order(takeLock, "quiet")
	holder.hear(asked, "quiet")
	for _, id := range []string{"quiet", "wanted"} {
		holder.free(id)
		require.Empty(t, waiter.hear(takeLock, id).Error)
		waiter.free(id)
	}
	holder.silent()
	waiter.silent()
	requireClean(t, here)
	requireClean(t, countHere, "counter")
}
