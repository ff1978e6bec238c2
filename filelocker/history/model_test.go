//go:build linux

package history_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// kind is what an operation of the model does.
type kind string

const (
	acquire kind = "lock"       // a Lock that succeeded
	maybe   kind = "lock?"      // a Lock that its process did not survive
	release kind = "unlock"     // with what it said
	unknown kind = "unlock?"    // an Unlock that its process did not survive
	drop    kind = "give back?" // what else that one may have done with a lost lock
	remove  kind = "remove"     // a removal of the lock file
	echo    kind = "remove?"    // a removal by an Unlock that was under way during one
	crash   kind = "kill"       // of a process
	finish  kind = "end"        // of a part of the history
)

// input is an operation. All that is known of it, what it returned too, is part of it.
type input struct {
	kind    kind
	holder  holder
	shared  bool
	outcome string
	removal int    // its number; the first is 1
	state   *state // that a part must end with
}

// holder is one call of Lock in one process.
type holder struct{ process, hold int }

func (h holder) String() string { return fmt.Sprintf("%d.%d", h.process, h.hold) }

// state of one upload's lock. It is not changed once it is made.
type state struct {
	claims []claim // at most one of each process, in their order
	dead   []int
}

// claim is what a process has, or believes to have.
type claim struct {
	process int
	shared  bool
	removal int      // which has ended it; 0: it is good
	holders []holder // nobody while a lost lock is being handed on
}

// lockModel is the sequential lock. A strict one has no exception for a loss that was not
// noticed in time.
func lockModel(start *state, strict bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(s, in, _ any) (bool, any) {
			next := s.(*state).step(in.(input), strict)
			return next != nil, next
		},
		Equal:                     func(a, b any) bool { return a.(*state).equal(b.(*state)) },
		DescribeOperation:         func(in, _ any) string { return in.(input).String() },
		DescribeState:             func(s any) string { return s.(*state).String() },
		DescribeOperationMetadata: func(m any) string { return fmt.Sprint(m) },
	}
}

// step returns the state after in, or nil if in is not legal.
func (s *state) step(in input, strict bool) *state {
	p := in.holder.process
	switch in.kind {
	case maybe:
		if slices.Contains(s.dead, p) {
			return s // it died without the lock
		}
		return s.acquire(in)
	case acquire:
		if in.outcome != done {
			return nil // an error that has no reason
		}
		return s.acquire(in)
	case release:
		return s.release(in, strict)
	case unknown:
		if i, j := s.find(in.holder); i >= 0 {
			return s.without(i, j)
		}
		return s
	case drop:
		if i := s.claimOf(p); i >= 0 && len(s.claims[i].holders) == 0 {
			return s.crash(p, false)
		}
		return s
	case remove:
		return s.remove(in.removal)
	case echo:
		if i, _ := s.find(in.holder); i >= 0 {
			return s // the Unlock has done nothing yet, nor will it then
		}
		return s.remove(in.removal)
	case crash:
		return s.crash(p, true)
	case finish:
		if slices.EqualFunc(s.claims, in.state.claims, claim.equal) {
			return s
		}
		return nil
	}
	panic("unknown kind of operation: " + in.kind)
}

func (s *state) acquire(in input) *state {
	p := in.holder.process
	if slices.Contains(s.dead, p) {
		return nil
	}
	if i := s.claimOf(p); i >= 0 {
		c := s.claims[i]
		switch {
		case c.shared && in.shared: // joins
		case len(c.holders) == 0 && !in.shared: // inherits a lost lock
		default:
			return nil
		}
		n := s.clone()
		n.claims[i].holders = append(slices.Clone(c.holders), in.holder)
		slices.SortFunc(n.claims[i].holders, func(a, b holder) int { return a.hold - b.hold })
		return n
	}
	for _, c := range s.claims {
		if c.removal == 0 && !(c.shared && in.shared) {
			return nil
		}
	}
	n := s.clone()
	n.claims = append(n.claims, claim{p, in.shared, 0, []holder{in.holder}})
	slices.SortFunc(n.claims, func(a, b claim) int { return a.process - b.process })
	return n
}

func (s *state) release(in input, strict bool) *state {
	i, j := s.find(in.holder)
	if in.outcome == notHeld && i < 0 {
		return s
	}
	if i < 0 {
		return nil
	}
	c := s.claims[i]
	n := s.without(i, j)
	switch {
	case in.outcome == done && c.removal == 0:
		return n
	case in.outcome == lost && c.removal > 0:
		if !c.shared {
			return s.crash(c.process, false) // it is not handed on
		}
		return n
	case in.outcome != done || strict:
		return nil
	case !c.shared:
		return n // handed on
	}
	for _, other := range n.claims {
		if other.removal == c.removal && len(other.holders) > 0 {
			return n // who remains will be told
		}
	}
	return nil
}

// remove ends all claims that are good.
func (s *state) remove(removal int) *state {
	n := s.clone()
	for i := range n.claims {
		if n.claims[i].removal == 0 {
			n.claims[i].removal = removal
		}
	}
	return n
}

// crash ends what the process p has.
func (s *state) crash(p int, dies bool) *state {
	n := s.clone()
	n.claims = slices.DeleteFunc(n.claims, func(c claim) bool { return c.process == p })
	if dies {
		n.dead = append(slices.Clone(s.dead), p)
		slices.Sort(n.dead)
	}
	return n
}

// without takes a holder away. A lost lock that is exclusive remains, to be inherited.
func (s *state) without(i, j int) *state {
	n := s.clone()
	c := &n.claims[i]
	c.holders = slices.Delete(slices.Clone(c.holders), j, j+1)
	if len(c.holders) == 0 && (c.shared || c.removal == 0) {
		n.claims = slices.Delete(n.claims, i, i+1)
	}
	return n
}

func (s *state) clone() *state { return &state{slices.Clone(s.claims), s.dead} }

func (s *state) claimOf(process int) int {
	return slices.IndexFunc(s.claims, func(c claim) bool { return c.process == process })
}

func (s *state) find(h holder) (claim, place int) {
	for i, c := range s.claims {
		if j := slices.Index(c.holders, h); j >= 0 {
			return i, j
		}
	}
	return -1, -1
}

func (s *state) equal(t *state) bool {
	return slices.Equal(s.dead, t.dead) && slices.EqualFunc(s.claims, t.claims, claim.equal)
}

func (c claim) equal(d claim) bool {
	return c.process == d.process && c.shared == d.shared && c.removal == d.removal && slices.Equal(c.holders, d.holders)
}

func (s *state) String() string {
	if len(s.claims) == 0 {
		return "free"
	}
	var text []string
	for _, c := range s.claims {
		how := "exclusive"
		if c.shared {
			how = "shared"
		}
		if c.removal > 0 {
			how = "lost " + how
		}
		text = append(text, fmt.Sprint(how, " ", c.holders))
	}
	return strings.Join(text, ", ")
}

func (in input) String() string {
	switch in.kind {
	case "":
		return in.outcome // a note
	case crash:
		return fmt.Sprintf("kill %d", in.holder.process)
	case remove:
		return fmt.Sprintf("remove (%d)", in.removal)
	case finish:
		return fmt.Sprintf("end: %v", in.state)
	}
	text := fmt.Sprint(in.kind, " ", in.holder)
	if in.shared {
		text += " shared"
	}
	if in.outcome != done && in.outcome != "" {
		text += ": " + in.outcome
	}
	return text
}
