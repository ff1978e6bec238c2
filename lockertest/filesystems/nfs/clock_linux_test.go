package nfs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// localDir is a file system of the guest's own memory.
const localDir = "/tmp"

// Clocks are set by an hour, forward and back, under holders and waiters: a machine's own, with
// locks of its own, and those of both machines, in opposite directions, with locks on the export.
// Nobody gets a lock for it, and nobody has to wait for it.
func testClock(t *testing.T, s *site) {
	t.Run("Own", func(t *testing.T) { testOwnClock(t, s.guests[0]) })
	t.Run("Both", func(t *testing.T) { testBothClocks(t, s) })
}

func testOwnClock(t *testing.T, m *machine) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, -time.Hour, time.Hour} {
		holder, waiter := m.player(t, "holder", localDir), m.player(t, "waiter", localDir)
		victim := m.player(t, "victim", localDir)
		holder.take("held")
		victim.take("orphan")
		waiter.order(takeLock, "held")
		holder.hear(asked, "held")

		holder.turn(by)
		// What the waiter does after a lock was handed over is more than it would do for it.
		waiter.take("other")
		holder.order(takeLock, "other")
		waiter.hear(asked, "other")
		waiter.free("other")
		require.Empty(t, holder.hear(takeLock, "other").Error)
		holder.free("other")
		holder.silent()
		waiter.silent()

		victim.kill()
		waiter.take("orphan")
		waiter.free("orphan")
		holder.free("held")
		require.Empty(t, waiter.hear(takeLock, "held").Error)
		waiter.free("held")
		holder.silent()
		holder.order(listFiles, "")
		require.Empty(t, holder.hear(listFiles, "").Files)
		for _, a := range []*actor{holder, waiter} {
			a.kill()
		}
	}
}

func testBothClocks(t *testing.T, s *site) {
	here, there := s.share(t, "clock")
	holder, waiter := s.guests[0].player(t, "holder", there), s.guests[1].player(t, "waiter", there)
	victim := s.guests[0].player(t, "victim", there)
	for _, by := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		holder.take("held")
		waiter.order(takeLock, "held")
		holder.hear(asked, "held")
		holder.turn(by)
		waiter.turn(-by)
		// A heartbeat that counts as lost shows only after that time.
		over := time.NewTimer(beatLost + 5*time.Second)
		defer over.Stop()
		<-over.C
		holder.silent()
		waiter.silent()
		holder.free("held")
		require.Empty(t, waiter.hear(takeLock, "held").Error)
		waiter.free("held")
	}

	victim.take("orphan")
	holder.turn(time.Hour)
	waiter.turn(-time.Hour)
	victim.kill()
	beaten := stampTime(t, here, "orphan")
	start := time.Now()
	waiter.take("orphan")
	silence := stampTime(t, here, "orphan").Sub(beaten)
	t.Logf("the heir has the lock after %v, %v after the last heartbeat", time.Since(start).Round(time.Millisecond), silence)
	require.GreaterOrEqual(t, silence, beatLost)
	waiter.free("orphan")
	holder.turn(-time.Hour)
	waiter.turn(time.Hour)
	requireClean(t, here)
	holder.silent()
	waiter.silent()
}

// turn sets the clock of the machine that the player runs on.
func (a *actor) turn(by time.Duration) {
	a.t.Helper()
	require.NoError(a.t, a.orders.Encode(order{Do: setClock, By: by}))
	require.Empty(a.t, a.hear(setClock, "").Error)
}
