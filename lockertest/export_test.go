package lockertest

import "testing"

// What the tests in package lockertest_test need of the inside.

// Names lists the subtests.
func Names() (names []string) {
	for _, s := range subtests() {
		names = append(names, s.name)
	}
	return names
}

// Try runs one subtest without judging it.
func Try(t testing.TB, f Factory, name string) (outcome, log string) {
	r := f.try(t, find(name))
	return r.outcome.String(), r.log
}

// Judged runs one subtest and judges it.
func Judged(t testing.TB, f Factory, name string) (outcome, log string) {
	r := f.judge(find(name), f.try(t, find(name)))
	return r.outcome.String(), r.log
}

// Validate is what Run does first.
func (f Factory) Validate() error { return f.validate(subtests()) }

func find(name string) subtest {
	for _, s := range subtests() {
		if s.name == name {
			return s
		}
	}
	panic("no subtest is called " + name)
}

func (o outcome) String() string {
	return [...]string{passed: "passed", failed: "failed", skipped: "skipped", unclaimed: "unclaimed"}[o]
}
