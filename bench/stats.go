//go:build linux

package main

import (
	"math"
	"slices"
	"time"
)

// Units of figures.
const (
	ns     = "ns"
	count  = "count"
	size   = "bytes"
	perSec = "per second"
	ratio  = "ratio"
)

// series collects what is measured of one peer in one situation.
type series struct{ metrics []metric }

type metric struct {
	name, unit string
	samples    []float64
}

func (s *series) add(name, unit string, samples ...float64) {
	i := slices.IndexFunc(s.metrics, func(m metric) bool { return m.name == name })
	if i < 0 {
		i = len(s.metrics)
		s.metrics = append(s.metrics, metric{name: name, unit: unit})
	}
	s.metrics[i].samples = append(s.metrics[i].samples, samples...)
}

func (s *series) took(name string, d time.Duration) { s.add(name, ns, float64(d)) }

// figure is a metric in short.
type figure struct {
	Metric string  `json:"metric"`
	Unit   string  `json:"unit"`
	N      int     `json:"n"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	Mean   float64 `json:"mean"`
	Min    float64 `json:"min"`

	sorted []float64
}

// summarize is the one place where percentiles are computed.
func summarize(m metric) figure {
	sorted := slices.Sorted(slices.Values(m.samples))
	f := figure{Metric: m.name, Unit: m.unit, N: len(sorted), sorted: sorted}
	if f.N == 0 {
		return f
	}
	var sum float64
	for _, v := range sorted {
		sum += v
	}
	f.P50, f.P99 = percentile(sorted, 50), percentile(sorted, 99)
	f.Min, f.Max = sorted[0], sorted[f.N-1]
	f.Mean = sum / float64(f.N)
	return f
}

// percentile is the smallest sample that p percent of all samples do not exceed (nearest
// rank). It is NaN without samples.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// stat is one of a figure's numbers.
type stat func(figure) float64

func p50(f figure) float64   { return f.P50 }
func p99(f figure) float64   { return f.P99 }
func least(f figure) float64 { return f.Min }
func most(f figure) float64  { return f.Max }
