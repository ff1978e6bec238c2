//go:build linux

package history_test

import (
	"cmp"
	"fmt"
	"slices"
)

// operation is one of the model, with its time.
type operation struct {
	input
	worker int // -1: not a worker's
	call   int64
	ret    int64
}

// history is what happened to one upload.
type history struct {
	id         string
	operations []operation
	notes      []operation // what changes nothing: timeouts and the like, for the picture
	homes      map[int][]span
}

// span is a time, with its ends.
type span struct{ from, to int64 }

func (s span) meets(t span) bool { return s.from <= t.to && t.from <= s.to }

// histories puts together what the processes and the injector of faults have recorded.
func (f *fleet) histories() (map[string]*history, error) {
	all := make(map[string]*history)
	for _, id := range ids {
		all[id] = &history{id: id, homes: make(map[int][]span)}
	}
	for p, path := range f.journal {
		records, err := readJournal(path)
		if err != nil {
			return nil, err
		}
		death, died := f.deaths[p]
		byID := make(map[string][]record)
		for _, r := range records {
			if r.Return == 0 && !died {
				return nil, fmt.Errorf("process %d has ended in the middle of a call: %+v", p, r)
			}
			byID[r.ID] = append(byID[r.ID], r)
		}
		for id, calls := range byID {
			if err := all[id].add(p, calls, death); err != nil {
				return nil, err
			}
		}
	}
	for _, h := range all {
		h.addRemovals(f.removals)
		for _, m := range f.marks {
			if m.id == h.id || m.id == "" {
				h.notes = append(h.notes, operation{input{outcome: m.what, holder: holder{m.process, 0}}, -1, m.call, m.ret})
			}
		}
		slices.SortFunc(h.operations, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
		slices.SortFunc(h.notes, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	}
	return all, nil
}

// add adds the calls of one process, which may have been killed.
func (h *history) add(process int, calls []record, death fault) error {
	holds := make(map[int]span)
	involved := false // in its death
	for _, r := range calls {
		op := operation{input{holder: holder{process, r.Hold}, shared: r.Shared, outcome: r.Outcome}, r.Worker, r.Call, r.Return}
		if r.Return == 0 {
			op.ret, involved = death.ret, true
		}
		kinds := r.kinds()
		for _, k := range kinds {
			op.kind = k
			h.operations = append(h.operations, op)
		}
		switch {
		case r.Outcome == timeout:
			h.notes = append(h.notes, op)
		case r.Op == opLock && r.Outcome == done:
			holds[r.Hold] = span{r.Call, death.ret}
		case len(kinds) > 0:
			s, known := holds[r.Hold]
			if !known {
				s.from = op.call
			}
			holds[r.Hold] = span{s.from, op.ret}
		}
	}
	for hold, s := range holds {
		if s.to == 0 {
			return fmt.Errorf("process %d has ended without unlocking %d", process, hold)
		}
		involved = involved || s.to == death.ret
		h.homes[process] = append(h.homes[process], s)
	}
	h.homes[process] = join(h.homes[process])
	if involved {
		h.operations = append(h.operations, operation{input{kind: crash, holder: holder{process, 0}}, -1, death.call, death.ret})
	}
	return nil
}

// kinds is what the call is in the model. A second Unlock that does not return does nothing.
func (r record) kinds() []kind {
	pending := r.Return == 0
	switch {
	case r.Outcome == timeout, r.Op == opAgain && pending:
		return nil
	case r.Op == opLock && pending:
		return []kind{maybe}
	case r.Op == opLock:
		return []kind{acquire}
	case pending:
		return []kind{unknown, drop}
	}
	return []kind{release}
}

// addRemovals adds the removals of the lock file, and what each Unlock that is under way then
// may do: it has seen its own file, and removes the one that is there now.
func (h *history) addRemovals(removals []fault) {
	var unlocks, removed []operation
	for _, op := range h.operations {
		if op.kind == unknown || op.kind == release && op.outcome == done {
			unlocks = append(unlocks, op)
		}
	}
	for _, r := range removals {
		if r.id == h.id {
			removed = append(removed, operation{input{kind: remove}, -1, r.call, r.ret})
		}
	}
	echoed := make(map[holder]bool)
	for n := 0; n < len(removed); n++ {
		r := &removed[n]
		r.removal = n + 1
		for _, u := range unlocks {
			if !echoed[u.holder] && r.span().meets(u.span()) {
				echoed[u.holder] = true
				u.kind, u.worker = echo, -1
				removed = append(removed, u)
			}
		}
	}
	h.operations = append(h.operations, removed...)
}

func (op operation) span() span { return span{op.call, op.ret} }

// join returns the spans in order, with those that meet made one.
func join(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var joined []span
	for _, s := range spans {
		if last := len(joined) - 1; last >= 0 && s.from <= joined[last].to {
			joined[last].to = max(joined[last].to, s.to)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}
