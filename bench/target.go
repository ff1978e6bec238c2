//go:build linux

package main

// target is what a measure is to reach. The figure is computed from the outcome; it is the
// worst one where there are several situations.
type target struct {
	text    string
	unit    string
	limit   float64
	atLeast bool // the figure must not be below the limit; else not above
	figure  func(o *outcome) (float64, bool)
}

// verdict says whether a target was reached.
type verdict struct {
	Target  string  `json:"target"`
	Unit    string  `json:"unit"`
	Limit   float64 `json:"limit"`
	Figure  float64 `json:"figure"`
	Known   bool    `json:"measured"` // false if something to compare was missing
	Reached bool    `json:"reached"`
}

func (t target) judge(o *outcome) verdict {
	v := verdict{Target: t.text, Unit: t.unit, Limit: t.limit}
	v.Figure, v.Known = t.figure(o)
	v.Reached = v.Known && (t.atLeast && v.Figure >= t.limit || !t.atLeast && v.Figure <= t.limit)
	return v
}

// under says that a figure of ours stays under limit in the given situations, or in all.
func under(text, unit string, limit float64, metric string, s stat, at ...string) target {
	return target{text: text, unit: unit, limit: limit, figure: func(o *outcome) (float64, bool) {
		return worst(o, at, func(at string) (float64, bool) {
			f, ok := o.find(ours, at, metric)
			return s(f), ok
		})
	}}
}

// within says that a figure of ours is at most limit times that of another peer in the same
// situation.
func within(text string, limit float64, other, metric string, s stat, at ...string) target {
	return target{text: text, unit: ratio, limit: limit, figure: func(o *outcome) (float64, bool) {
		return worst(o, at, func(at string) (float64, bool) { return quotient(o, metric, s, other, at, at) })
	}}
}

// flat says that a figure of ours in any situation is at most limit times that in the first.
func flat(text string, limit float64, metric string, s stat, first string, at ...string) target {
	return target{text: text, unit: ratio, limit: limit, figure: func(o *outcome) (float64, bool) {
		return worst(o, at, func(at string) (float64, bool) { return quotient(o, metric, s, ours, at, first) })
	}}
}

// quotient is ours in one situation over another peer's in another.
func quotient(o *outcome, metric string, s stat, other, at, otherAt string) (float64, bool) {
	f, ok := o.find(ours, at, metric)
	g, known := o.find(other, otherAt, metric)
	if !ok || !known || s(g) == 0 {
		return 0, false
	}
	return s(f) / s(g), true
}

// worst is the largest figure of ours in the given situations, or in all there are.
func worst(o *outcome, at []string, of func(at string) (float64, bool)) (v float64, known bool) {
	if len(at) == 0 {
		at = o.situations(ours)
	}
	for _, at := range at {
		f, ok := of(at)
		if !ok {
			return 0, false
		}
		if !known || f > v {
			v, known = f, true
		}
	}
	return v, known
}
