package lockertest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// outcome is how a subtest ended, before it is compared with what is expected of it.
type outcome int

const (
	passed outcome = iota
	failed
	skipped
	unclaimed // skipped, because the locker does not promise what it is about
)

// result is an outcome and what was logged on the way.
type result struct {
	outcome outcome
	log     string
}

// try runs a subtest. It fails t only where t's own methods do.
func (f Factory) try(t testing.TB, s subtest) result {
	for _, n := range s.needs {
		if missing := f.missing(n); missing != "" {
			return result{unclaimed, missing}
		}
	}
	if _, known := f.Known[s.name]; known {
		f.Patience = f.patience() / 5
	}
	r := &recorder{TB: t}
	limit := 10 * f.patience()
	r.do("the subtest", limit, func() {
		c := f.begin(r)
		s.run(c)
		c.end()
	})
	r.cleanUp(limit)
	return r.result()
}

// missing says what f lacks for a need.
func (f Factory) missing(n Capability) string {
	field := func(name string, absent bool) string {
		if absent {
			return "the factory has no " + name
		}
		return ""
	}
	switch n {
	case needsCommand:
		return field("Command", f.Command == nil)
	case needsReading:
		return field("Reading", f.Reading == nil)
	case needsAudit:
		return field("Audit", f.Audit == nil)
	}
	if !f.claims(n) {
		return "the locker does not claim " + string(n)
	}
	return ""
}

// judge compares a result with what f expects. What it returns passes, fails or is skipped
// for good.
func (f Factory) judge(s subtest, r result) result {
	known, isKnown := f.Known[s.name]
	chance, byChance := f.Sometimes[s.name]
	switch {
	case r.outcome == failed && isKnown:
		return result{skipped, fmt.Sprintf("known failure: %s\n%s", known, r.log)}
	case r.outcome == failed && byChance:
		return result{skipped, fmt.Sprintf("failure that happens sometimes: %s\n%s", chance, r.log)}
	case r.outcome == passed && isKnown:
		return result{failed, fmt.Sprintf("passes, but is listed as a known failure: %s\n%s", known, r.log)}
	case r.outcome == unclaimed && (isKnown || byChance):
		return result{failed, "is listed as a failure, but not run: " + r.log}
	case r.outcome == unclaimed:
		return result{skipped, r.log}
	}
	return r
}

func (r result) report(t testing.TB) {
	t.Helper()
	switch r.outcome {
	case failed:
		t.Error(r.log)
	case skipped:
		t.Skip(r.log)
	case passed:
		if r.log != "" {
			t.Log(r.log)
		}
	}
}

// validate finds mistakes that would make subtests pass or be skipped unnoticed.
func (f Factory) validate(all []subtest) error {
	if f.New == nil {
		return errors.New("the factory has no New")
	}
	if f.Patience < 0 {
		return fmt.Errorf("the patience is negative: %v", f.Patience)
	}
	for _, c := range f.Claims {
		if !slices.Contains(claimable, c) {
			return fmt.Errorf("there is no capability %q", c)
		}
	}
	names := make(map[string]bool)
	for _, s := range all {
		names[s.name] = true
	}
	for _, list := range []map[string]string{f.Known, f.Sometimes} {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			switch _, known := f.Known[name]; {
			case !names[name]:
				return fmt.Errorf("there is no subtest %q, which is listed as a failure", name)
			case list[name] == "":
				return fmt.Errorf("the failure of %q is listed without a reason", name)
			case known && f.Sometimes[name] != "":
				return fmt.Errorf("the failure of %q is listed twice", name)
			}
		}
	}
	return nil
}
