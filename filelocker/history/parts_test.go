//go:build linux

package history_test

import (
	"math"
	"slices"
	"sort"
)

// part is a piece of a history that can be checked by itself.
type part struct {
	id         string
	start, end *state
	operations []operation
	notes      []operation
}

// free is the state of a lock that nobody holds. It is not changed.
var free = &state{}

// cut is a moment at which a holder has the lock alone, for certain.
type cut struct {
	at    int64
	state *state
}

// apart is how many exclusive holds lie between two cuts, for there to be something to see in
// a picture.
const apart = 12

// parts divides the history.
//
// At a cut the state is known, and no removal or kill is in question. So whoever was in the
// middle of a successful Lock has got the lock later, or else would have it now, and whoever
// was in the middle of an Unlock had given it back.
func (h *history) parts() []part {
	cuts := h.cuts()
	parts := make([]part, len(cuts)+1)
	var from int64
	state := free
	for i := range parts {
		to := int64(math.MaxInt64)
		parts[i].id, parts[i].start, parts[i].end = h.id, state, free
		if i < len(cuts) {
			to, parts[i].end = cuts[i].at, cuts[i].state
		}
		state = parts[i].end
		for _, n := range h.notes {
			if n.call < to && n.ret >= from {
				n.call, n.ret = max(n.call, from), min(n.ret, to)
				parts[i].notes = append(parts[i].notes, n)
			}
		}
		from = to
	}
	for _, op := range h.operations {
		decides := op.call
		late := op.kind == acquire || op.kind == maybe
		if late {
			decides = op.ret
		}
		i := sort.Search(len(cuts), func(i int) bool { return cuts[i].at >= decides })
		if late && i > 0 {
			op.call = max(op.call, cuts[i-1].at)
		} else if !late && i < len(cuts) {
			op.ret = min(op.ret, cuts[i].at)
		}
		parts[i].operations = append(parts[i].operations, op)
	}
	return parts
}

// whole is the history without cuts.
func (h *history) whole() part {
	return part{h.id, free, free, h.operations, h.notes}
}

// cuts finds where the history can be divided.
func (h *history) cuts() []cut {
	ends := make(map[int64]bool)
	locked := make(map[holder]operation)
	for _, op := range h.operations {
		ends[op.call], ends[op.ret] = true, true
		if op.kind == acquire && !op.shared {
			locked[op.holder] = op
		}
	}
	doubts := h.doubts()
	var cuts []cut
	for _, op := range h.operations {
		got, known := locked[op.holder]
		if op.kind != release || op.outcome != done || !known {
			continue
		}
		at := got.ret + (op.call-got.ret)/2
		if at <= got.ret || at >= op.call || ends[at] || within(doubts, at) {
			continue
		}
		cuts = append(cuts, cut{at, &state{claims: []claim{{op.holder.process, false, 0, []holder{op.holder}}}}})
	}
	sort.Slice(cuts, func(i, j int) bool { return cuts[i].at < cuts[j].at })
	var few []cut
	for i := apart; i < len(cuts); i += apart {
		few = append(few, cuts[i])
	}
	return few
}

// doubts is when a kill or a removal may take effect, or a lost lock may still be believed in:
// until the processes that were at the upload during the removal have had a moment without a
// hold or a wait there.
func (h *history) doubts() []span {
	var doubts []span
	for _, op := range h.operations {
		s := op.span()
		switch op.kind {
		case crash, unknown, drop:
			doubts = append(doubts, s)
		case remove, echo:
			long := s
			for _, homes := range h.homes {
				i := sort.Search(len(homes), func(i int) bool { return homes[i].to >= s.from })
				for ; i < len(homes) && homes[i].meets(s); i++ {
					long.to = max(long.to, homes[i].to)
				}
			}
			doubts = append(doubts, long)
		}
	}
	return join(doubts)
}

// within says whether t lies in one of the spans, which are in order and apart.
func within(spans []span, t int64) bool {
	_, found := slices.BinarySearchFunc(spans, t, func(s span, t int64) int {
		switch {
		case s.to < t:
			return -1
		case s.from > t:
			return 1
		}
		return 0
	})
	return found
}
