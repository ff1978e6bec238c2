//go:build linux

package history_test

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// By writes the operations of one holder. Times are in the order of their numbers.
type by struct {
	holder
	shared bool
}

func (b by) op(k kind, outcome string, call, ret int64) operation {
	return operation{input{kind: k, holder: b.holder, shared: b.shared, outcome: outcome}, 0, call, ret}
}

func (b by) lock(call, ret int64) operation      { return b.op(acquire, done, call, ret) }
func (b by) unlock(call, ret int64) operation    { return b.op(release, done, call, ret) }
func (b by) loses(call, ret int64) operation     { return b.op(release, lost, call, ret) }
func (b by) isRefused(call, ret int64) operation { return b.op(release, notHeld, call, ret) }
func (b by) dies(call, ret int64) operation      { return b.op(crash, "", call, ret) }
func (b by) diesIn(k kind, call, ret int64) operation {
	return b.op(k, "", call, ret)
}
func (b by) removes(call, ret int64) operation { return removal(call, ret, echo, b.holder) }

func removed(call, ret int64) operation { return removal(call, ret, remove, holder{}) }

func removal(call, ret int64, k kind, h holder) operation {
	return operation{input{kind: k, holder: h, removal: int(call)}, -1, call, ret}
}

// Each illegal history has a legal one beside it that is hardly different.
func TestModel(t *testing.T) {
	a, a2, b, b2, c := by{holder{1, 1}, false}, by{holder{1, 2}, false}, by{holder{2, 1}, false}, by{holder{2, 2}, false}, by{holder{3, 1}, false}
	ra, ra2, rb := by{holder{1, 3}, true}, by{holder{1, 4}, true}, by{holder{2, 3}, true}
	for _, test := range []struct {
		name  string
		legal bool
		list  []operation
	}{
		{"one after the other", true, []operation{a.lock(1, 2), a.unlock(3, 5), b.lock(4, 6), b.unlock(7, 8)}},
		{"two holders", false, []operation{a.lock(1, 2), b.lock(3, 4), a.unlock(5, 6), b.unlock(7, 8)}},
		{"two holders of one process", false, []operation{a.lock(1, 2), a2.lock(3, 4), a.unlock(5, 6), a2.unlock(7, 8)}},
		{"holds that overlap by one step", false, []operation{a.lock(1, 2), b.lock(1, 4), a.unlock(5, 6), b.unlock(7, 8)}},
		{"readers", true, []operation{ra.lock(1, 2), rb.lock(3, 4), ra2.lock(3, 5), rb.unlock(6, 7), ra.unlock(8, 9), ra2.unlock(8, 9)}},
		{"a writer beside a reader", false, []operation{ra.lock(1, 2), b.lock(3, 4), ra.unlock(5, 6), b.unlock(7, 8)}},
		{"a reader beside a writer", false, []operation{b.lock(1, 2), ra.lock(3, 4), ra.unlock(5, 6), b.unlock(7, 8)}},
		{"a writer after the first of two readers", false, []operation{ra.lock(1, 2), rb.lock(1, 2), ra.unlock(3, 4), b2.lock(5, 6), rb.unlock(7, 8), b2.unlock(9, 10)}},

		{"a Lock that fails", false, []operation{a.op(acquire, "error: no reason", 1, 2)}},
		{"an Unlock that fails", false, []operation{a.lock(1, 2), a.op(release, "error: no reason", 3, 4)}},
		{"unlocked by nobody", false, []operation{a.unlock(1, 2)}},
		{"unlocked by another", false, []operation{a.lock(1, 2), b.unlock(3, 4), a.unlock(5, 6)}},
		{"unlocked twice", false, []operation{a.lock(1, 2), a.unlock(3, 4), a.unlock(5, 6)}},
		{"unlocked twice and told", true, []operation{a.lock(1, 2), a.unlock(3, 4), a.isRefused(5, 6)}},
		{"a holder is refused", false, []operation{a.lock(1, 2), a.isRefused(3, 4)}},
		{"held for ever", false, []operation{a.lock(1, 2)}},

		{"a killed holder", true, []operation{a.lock(1, 2), b.lock(3, 7), a.dies(5, 6), b.unlock(8, 9)}},
		{"robbed before its death", false, []operation{a.lock(1, 2), b.lock(3, 4), a.dies(5, 6), b.unlock(8, 9)}},
		{"killed in Lock", true, []operation{a.diesIn(maybe, 1, 6), a.dies(5, 6), b.lock(2, 3), b.unlock(7, 8)}},
		{"killed in Unlock", true, []operation{a.lock(1, 2), a.diesIn(unknown, 3, 8), b.lock(4, 5), a.dies(7, 8), b.unlock(9, 10)}},
		{"robbed before its last Unlock", false, []operation{a.lock(1, 2), b.lock(3, 4), a.diesIn(unknown, 5, 8), a.dies(7, 8), b.unlock(9, 10)}},

		{"a lost lock", true, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), a.loses(7, 8), b.unlock(9, 10)}},
		{"had before the removal", false, []operation{a.lock(1, 2), b.lock(3, 4), removed(5, 6), a.loses(7, 8), b.unlock(9, 10)}},
		{"lost without a removal", false, []operation{a.lock(1, 2), a.loses(3, 4)}},
		{"lost before the removal", false, []operation{a.lock(1, 2), a.loses(3, 4), removed(5, 6)}},
		{"lost a lock of after the removal", false, []operation{removed(1, 2), a.lock(3, 4), a.loses(5, 6)}},
		{"not told of the loss", false, []operation{a.lock(1, 2), removed(3, 4), a.unlock(5, 6)}},
		{"not told while another has it", false, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), a.unlock(7, 8), b.unlock(9, 10)}},
		{"removed during Unlock", true, []operation{a.lock(1, 2), removed(4, 5), a.unlock(3, 6)}},
		{"two after a removal", false, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), c.lock(7, 8), a.loses(9, 10), b.unlock(9, 10), c.unlock(9, 10)}},
		{"two in a process after a removal", false, []operation{a.lock(1, 2), removed(3, 4), a2.lock(5, 6), a.loses(7, 8), a2.unlock(9, 10)}},

		{"a loss handed on", true, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), a.unlock(7, 9), a2.lock(8, 10), a2.loses(11, 12), b.unlock(13, 14)}},
		{"a loss handed on unseen", false, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), a.unlock(7, 9), a2.lock(8, 10), a2.unlock(11, 12), b.unlock(13, 14)}},
		{"a loss handed to another process", false, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), a.unlock(7, 9), c.lock(8, 10), c.loses(11, 12), b.unlock(13, 14)}},
		{"handed on though told", false, []operation{a.lock(1, 2), removed(3, 4), b.lock(5, 6), a.loses(7, 9), a2.lock(8, 10), a2.loses(11, 12), b.unlock(13, 14)}},
		{"one of the readers is told", true, []operation{ra.lock(1, 2), rb.lock(1, 2), removed(3, 4), ra.unlock(5, 6), rb.loses(7, 8)}},
		{"no reader is told", false, []operation{ra.lock(1, 2), rb.lock(1, 2), removed(3, 4), ra.unlock(5, 6), rb.unlock(7, 8)}},
		{"the last reader dies", true, []operation{ra.lock(1, 2), rb.lock(1, 2), removed(3, 4), ra.unlock(5, 6), rb.dies(7, 8)}},
		{"killed while it hands on", true, []operation{a.lock(1, 2), removed(3, 4), a.diesIn(unknown, 5, 12), a.diesIn(drop, 5, 12), a2.lock(5, 6), a2.unlock(7, 8), ra.lock(9, 10), a.dies(11, 12)}},

		{"an Unlock removes its successor", true, []operation{a.lock(1, 2), a.unlock(3, 9), removed(4, 5), a.removes(3, 9), b.lock(6, 7), b.loses(10, 11)}},
		{"an Unlock removes before it is called", false, []operation{b.lock(1, 2), b.loses(3, 4), a.lock(5, 6), removed(7, 8), a.unlock(7, 9), a.removes(7, 9)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := porcupine.Illegal
			if test.legal {
				want = porcupine.Ok
			}
			h := &history{operations: test.list}
			require.Equal(t, want, h.whole().check(false))
		})
	}
}
