//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// show writes a figure as people read it.
func show(v float64, unit string) string {
	switch unit {
	case ns:
		return showTime(v)
	case size:
		return short(v) + " B"
	case perSec:
		return short(v) + "/s"
	}
	return short(v)
}

func showTime(v float64) string {
	switch d := math.Abs(v); {
	case d < float64(time.Microsecond):
		return short(v) + " ns"
	case d < float64(time.Millisecond):
		return short(v/1e3) + " µs"
	case d < float64(time.Second):
		return short(v/1e6) + " ms"
	}
	return short(v/1e9) + " s"
}

// short has three digits at least, and no more after the point than that takes.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a == math.Trunc(a), a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// shown are the metrics that are of interest, the most important first.
func (o *outcome) shown() []string {
	if len(o.show) > 0 {
		return o.show
	}
	var all []string
	for _, r := range o.Results {
		for _, f := range r.Figures {
			if !slices.Contains(all, f.Metric) {
				all = append(all, f.Metric)
			}
		}
	}
	return all
}

// print writes the figures as they come, and what was reached.
func (o *outcome) print(w io.Writer) {
	for _, r := range o.Results {
		var parts []string
		for _, f := range r.Figures {
			if f.N > 0 && slices.Contains(o.shown(), f.Metric) {
				parts = append(parts, f.Metric+" "+f.brief())
			}
		}
		fmt.Fprintf(w, "  %-20s %-32s %s\n", r.Peer, r.At, strings.Join(parts, "; "))
	}
	for _, v := range o.Targets {
		fmt.Fprintf(w, "  %-12s %s: %s\n", v.word(), v.Target, v.value())
	}
	fmt.Fprintf(w, "  (%.1f s)\n", o.Seconds)
}

func (f figure) brief() string {
	if f.N < 3 || f.Min == f.Max {
		return show(f.P50, f.Unit)
	}
	return fmt.Sprintf("%s / %s / %s", show(f.P50, f.Unit), show(f.P99, f.Unit), show(f.Max, f.Unit))
}

func (v verdict) word() string {
	switch {
	case !v.Known:
		return "not measured"
	case v.Reached:
		return "reached"
	}
	return "NOT reached"
}

func (v verdict) value() string {
	if !v.Known {
		return "–"
	}
	return show(v.Figure, v.Unit)
}

// markdown is RESULTS.md.
func (r *report) markdown(plots []plotFile) string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "# Results\n\nMade by `go run ./bench` on %s in %.0f s; [README.md](README.md) says what each measure is.\n\n", r.Date.Format(time.DateOnly), r.Seconds)
	fmt.Fprintf(&b, "%s, %d cores, %s; disk: %s, memory: %s; %s; tusd %s; load before: %s.\n", m.CPU, m.Cores, m.Kernel, m.FileSystem, m.MemorySpace, m.Go, m.Modules["github.com/tus/tusd/v2"], m.LoadBefore)
	if r.Quick {
		b.WriteString("\nThis was a quick run: few rounds, and figures that vary.\n")
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(&b, "\nThese failed, and are missing: %s.\n", strings.Join(r.Missing, ", "))
	}
	b.WriteString("\n## What is to be reached\n\n| measure | target | limit | figure | reached |\n|---|---|---|---|---|\n")
	for _, o := range r.Outcomes {
		for _, v := range o.Targets {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", o.Measure, v.Target, show(v.Limit, v.Unit), v.value(), v.word())
		}
	}
	for _, p := range plots {
		fmt.Fprintf(&b, "\n![%s](%s)\n", p.title, p.name)
	}
	b.WriteString("\n## Figures\n\nWhere there is more than one sample: p50 / p99 / max.\n")
	for _, o := range r.Outcomes {
		o.markdown(&b)
	}
	return b.String()
}

// markdown writes one table per metric: situations down, peers across.
func (o *outcome) markdown(b *strings.Builder) {
	var peers, ats []string
	for _, r := range o.Results {
		if !slices.Contains(peers, r.Peer) {
			peers = append(peers, r.Peer)
		}
		if !slices.Contains(ats, r.At) {
			ats = append(ats, r.At)
		}
	}
	fmt.Fprintf(b, "\n### %s: %s\n\n| figure |", o.Measure, o.Title)
	for _, p := range peers {
		fmt.Fprintf(b, " %s |", p)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(peers)))
	for _, metric := range o.shown() {
		for _, at := range ats {
			o.row(b, metric, at, peers)
		}
	}
}

func (o *outcome) row(b *strings.Builder, metric, at string, peers []string) {
	cells, any := make([]string, len(peers)), false
	for i, p := range peers {
		cells[i] = "–"
		if f, ok := o.find(p, at, metric); ok {
			cells[i], any = f.brief(), true
		}
	}
	if !any {
		return
	}
	if at != "" {
		metric += ", " + at
	}
	fmt.Fprintf(b, "| %s | %s |\n", metric, strings.Join(cells, " | "))
}
