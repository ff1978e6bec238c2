//go:build linux

package history_test

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// The check finds a locker that is wrong in one way.
func TestFlawedLockers(t *testing.T) {
	for _, flaw := range []string{flawImpatient, flawSilent} {
		t.Run(flaw, func(t *testing.T) {
			var total verdict
			for round := 0; round < 20 && len(total.bad) == 0; round++ {
				_, all := observe(t, time.Second/2, flaw)
				for _, h := range all {
					total.add(h.check())
				}
			}
			t.Logf("%d of %d parts are illegal", len(total.bad), total.parts)
			require.NotEmpty(t, total.bad)
			where, err := total.bad[0].draw(t.TempDir(), 0)
			require.NoError(t, err)
			require.Contains(t, where, string(porcupine.Illegal))
			require.FileExists(t, where[len(porcupine.Illegal)+len(": "):])
		})
	}
}

// The check finds a single thing that is wrong in a recorded history, in parts as well as in
// the whole.
func TestCorruptedHistories(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seedFlag, 1<<34))
	biggest := &history{}
	for round := 0; round < 20 && len(biggest.certain()) < 10; round++ {
		_, all := observe(t, time.Second, "")
		for _, h := range all {
			whole, parts := verdicts(h)
			require.Equal(t, porcupine.Ok, whole, "%s as a whole", h.id)
			require.True(t, parts, "%s in parts", h.id)
			if len(h.operations) > len(biggest.operations) {
				biggest = h
			}
		}
	}
	holds := biggest.certain()
	require.Greater(t, len(holds), 1, "hardly a hold lasted")
	for name, corrupt := range map[string]func(h *history, i int) bool{
		"a second holder":      (*history).addWriter,
		"a reader beside it":   (*history).addReader,
		"unlocked by another":  (*history).addUnlock,
		"lost by itself":       (*history).lose,
		"it goes on too long":  (*history).stretch,
		"it was not unlocked":  (*history).keep,
		"robbed and then dead": (*history).kill,
	} {
		t.Run(name, func(t *testing.T) {
			done, found := 0, 0
			for range 20 {
				h := biggest.copy()
				if corrupt(h, rng.IntN(len(holds))) {
					done++
					if whole, parts := verdicts(h); whole == porcupine.Illegal && !parts {
						found++
					}
				}
			}
			// What the model excuses beside the removal of a file (see the package doc) can excuse
			// the one or other.
			t.Logf("found %d of %d", found, done)
			require.NotZero(t, done)
			require.Greater(t, 4*found, 3*done)
		})
	}
}

// verdicts checks the history as a whole, and says whether its parts are all legal.
func verdicts(h *history) (whole porcupine.CheckResult, parts bool) {
	slices.SortFunc(h.operations, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	return h.whole().check(false), len(h.check().bad) == 0
}

func (h *history) copy() *history {
	return &history{h.id, slices.Clone(h.operations), h.notes, maps.Clone(h.homes)}
}

// certain returns the places of the exclusive holds that lasted without a doubt: of the Lock
// and of the Unlock.
func (h *history) certain() (holds [][2]int) {
	doubts := h.doubts()
	locked := make(map[holder]int)
	for i, op := range h.operations {
		if op.kind == acquire && !op.shared {
			locked[op.holder] = i
		}
	}
	for i, op := range h.operations {
		l, known := locked[op.holder]
		if !known || op.kind != release || op.outcome != done || op.call-h.operations[l].ret < 100 {
			continue
		}
		if !within(doubts, op.call) && !within(doubts, op.ret) && !within(doubts, h.operations[l].ret) {
			holds = append(holds, [2]int{l, i})
		}
	}
	return holds
}

// middle is a time at which the i-th certain hold lasts.
func (h *history) middle(i int) int64 {
	at := h.certain()[i]
	return (h.operations[at[0]].ret + h.operations[at[1]].call) / 2
}

// stranger is a process that is not in the history.
func stranger(shared bool) by { return by{holder{1 << 20, 1}, shared} }

func (h *history) addWriter(i int) bool { return h.addHold(i, false) }
func (h *history) addReader(i int) bool { return h.addHold(i, true) }

func (h *history) addHold(i int, shared bool) bool {
	s, t := stranger(shared), h.middle(i)
	h.operations = append(h.operations, s.lock(t, t+1), s.unlock(t+2, t+3))
	h.homes[s.process] = []span{{t, t + 3}}
	return true
}

func (h *history) addUnlock(i int) bool {
	t := h.middle(i)
	h.operations = append(h.operations, stranger(false).unlock(t, t+1))
	return true
}

func (h *history) lose(i int) bool {
	h.operations[h.certain()[i][1]].outcome = lost
	return true
}

// stretch lets the hold end in the middle of the next one.
func (h *history) stretch(i int) bool {
	holds := h.certain()
	if i+1 >= len(holds) {
		return false
	}
	slices.SortFunc(holds, func(a, b [2]int) int {
		return cmp.Compare(h.operations[a[0]].ret, h.operations[b[0]].ret)
	})
	next := holds[i+1]
	u := &h.operations[holds[i][1]]
	u.call = (h.operations[next[0]].ret + h.operations[next[1]].call) / 2
	u.ret = u.call + 1
	return true
}

func (h *history) keep(i int) bool {
	at := h.certain()[i][1]
	h.operations = slices.Delete(h.operations, at, at+1)
	return true
}

// kill adds a holder that others do not wait for, and that is killed much later.
func (h *history) kill(i int) bool {
	s, t := stranger(false), h.middle(i)
	end := h.operations[len(h.operations)-1].ret
	if t+2 >= end {
		return false
	}
	h.operations = append(h.operations, s.lock(t, t+1), s.dies(t+2, end))
	h.homes[s.process] = []span{{t, end}}
	return true
}
