//go:build linux

package main

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, c := range []struct {
		sorted []float64
		p      float64
		want   float64
	}{
		{[]float64{7}, 0, 7},
		{[]float64{7}, 50, 7},
		{[]float64{7}, 100, 7},
		{[]float64{1, 2}, 50, 1},
		{[]float64{1, 2}, 51, 2},
		{[]float64{1, 2, 3}, 50, 2},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.1, 100},
		{hundred, 100, 100},
	} {
		require.Equal(t, c.want, percentile(c.sorted, c.p), "%v of %d samples", c.p, len(c.sorted))
	}
	require.True(t, math.IsNaN(percentile(nil, 50)))
}

func TestSummarize(t *testing.T) {
	var s series
	s.add("wait", ns, 3, 1)
	s.add("other", count, 9)
	s.add("wait", ns, 2, 10)
	require.Len(t, s.metrics, 2)
	f := summarize(s.metrics[0])
	require.Equal(t, []float64{1, 2, 3, 10}, f.sorted)
	f.sorted = nil
	require.Equal(t, figure{Metric: "wait", Unit: ns, N: 4, P50: 2, P99: 10, Max: 10, Mean: 4, Min: 1}, f)
	require.Equal(t, figure{Metric: "none", Unit: ns}, summarize(metric{name: "none", unit: ns}))
}

// Three processes, the second of which waits longest.
func TestNoteCrowd(t *testing.T) {
	grips := []event{
		{ID: "a", Called: 0, Got: 10, Unlocked: 150},
		{ID: "a", Called: 110, Got: 400, Unlocked: 500},
		{ID: "a", Called: 100, Got: 200, Unlocked: 390},
		{ID: "a", Called: 120},
	}
	var s series
	require.NoError(t, noteCrowd(grips, &s))
	got := make(map[string][]float64)
	for _, m := range s.metrics {
		got[m.name] = m.samples
	}
	require.Equal(t, map[string][]float64{
		"not served":              {1},
		"hand-over":               {100, 200},
		"hand-over but the first": {200},
		"unlock to lock":          {50, 10},
		"wait":                    {100, 290},
	}, got)

	s = series{}
	require.NoError(t, noteCrowd(grips[:3], &s))
	require.Contains(t, s.metrics, metric{"longest wait over mean", ratio, []float64{290. / 195}})

	grips[0].Unlocked = 201
	require.ErrorContains(t, noteCrowd(grips, &s), "two have held the lock")
}

func TestParseCalls(t *testing.T) {
	const report = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.54    0.000240           8        30           openat
 38.46    0.000150          15        10         4 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.000390           9        40         4 total
`
	calls, err := parseCalls(strings.NewReader(report))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"openat": 30, "futex": 10}, calls)
}
