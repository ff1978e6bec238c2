//go:build linux

package main

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

type plotFile struct{ name, title string }

const (
	plotWidth  = 22 * vg.Centimeter
	plotHeight = 11 * vg.Centimeter
)

// plot draws what was measured, and says what there is to see.
func (r *report) plot(dir string) ([]plotFile, error) {
	var files []plotFile
	for _, d := range []struct {
		name, measure string
		draw          func(*outcome) (*plot.Plot, error)
	}{
		{"in-process.svg", "in-process", drawCurves("hand-over")},
		{"between-processes.svg", "between-processes", drawCurves("hand-over", waiters(1), waiters(64))},
		{"killed-holder.svg", "killed-holder", drawCurves("kill to lock")},
		{"stalled-patch.svg", "stalled-patch", drawCurves("HEAD")},
		{"uncontended-disk.svg", "uncontended", drawBars("cycle", 1e3, "µs per cycle", "disk, ")},
		{"uncontended-memory.svg", "uncontended", drawBars("cycle", 1e3, "µs per cycle", "memory, ")},
		{"uploads-at-once.svg", "uploads-at-once", drawBars("throughput", 1, "uploads per second", "")},
		{"large-uploads-at-once.svg", "large-uploads-at-once", drawBars("throughput", 1, "uploads per second", "")},
		{"directory-size-disk.svg", "directory-size", drawFlatness("disk, ", timesInDirectory())},
		{"directory-size-memory.svg", "directory-size", drawFlatness("memory, ", timesInDirectory())},
	} {
		o, ok := r.find(d.measure)
		if !ok || len(o.Results) == 0 {
			continue
		}
		p, err := d.draw(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		p.Title.Text = o.Title
		p.BackgroundColor = color.White
		if err := p.Save(plotWidth, plotHeight, filepath.Join(dir, d.name)); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		files = append(files, plotFile{d.name, o.Title})
	}
	return files, nil
}

// colorOf gives each peer the same color in all plots.
func colorOf(peer string) color.Color {
	switch peer {
	case ours:
		return color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}
	case stock:
		return color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	case stockFast:
		return color.RGBA{R: 0x7f, G: 0xb8, B: 0xe0, A: 0xff}
	case memory:
		return color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff}
	case floor, floorWait, floorNames, floorBound, channel, noLocker:
		return color.RGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff}
	}
	return color.RGBA{R: 0xaa, G: 0xaa, B: 0xaa, A: 0xff}
}

// drawCurves shows the share of samples that took at most so long.
func drawCurves(metric string, at ...string) func(*outcome) (*plot.Plot, error) {
	return func(o *outcome) (*plot.Plot, error) {
		p := plot.New()
		p.X.Scale = plot.LogScale{}
		p.X.Tick.Marker = timeTicks{}
		p.Y.Label.Text = "share of the samples, %"
		p.Y.Min, p.Y.Max = 0, 100
		p.Legend.Top, p.Legend.Left = true, true
		p.Add(plotter.NewGrid())
		for _, r := range o.Results {
			f, ok := o.find(r.Peer, r.At, metric)
			if !ok || len(at) > 0 && !slices.Contains(at, r.At) {
				continue
			}
			line, err := plotter.NewLine(shares(f.sorted))
			if err != nil {
				return nil, err
			}
			line.Color, line.Width = colorOf(r.Peer), vg.Points(2)
			if i := slices.Index(o.situations(r.Peer), r.At); i > 0 {
				line.Dashes = []vg.Length{vg.Points(6), vg.Points(3)}
			}
			p.Add(line)
			p.Legend.Add(label(r), line)
		}
		return p, nil
	}
}

func label(r result) string {
	if r.At == "" {
		return r.Peer
	}
	return r.Peer + ", " + r.At
}

// shares are the points of a curve; a few hundred show as much as all.
func shares(sorted []float64) plotter.XYs {
	const points = 400
	step := max(len(sorted)/points, 1)
	var xy plotter.XYs
	for i := 0; i < len(sorted); i += step {
		xy = append(xy, plotter.XY{X: max(sorted[i], 1), Y: 100 * float64(i) / float64(len(sorted))})
	}
	if n := len(sorted); n > 0 {
		xy = append(xy, plotter.XY{X: max(sorted[n-1], 1), Y: 100})
	}
	return xy
}

// timeTicks marks the powers of ten between nanoseconds and seconds.
type timeTicks struct{}

func (timeTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := math.Pow(10, math.Floor(math.Log10(max(low, 1)))); v <= high*1.001; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: time.Duration(v).String()})
	}
	return ticks
}

// drawBars shows medians: a group of bars per situation that begins so, a bar per peer.
func drawBars(metric string, unit float64, axis, begin string) func(*outcome) (*plot.Plot, error) {
	return func(o *outcome) (*plot.Plot, error) {
		p := plot.New()
		p.Y.Label.Text = axis
		p.Y.Min = 0
		p.Legend.Top = true
		ats := situationsWith(o, begin)
		var peers []string
		for _, r := range o.Results {
			if !slices.Contains(peers, r.Peer) {
				peers = append(peers, r.Peer)
			}
		}
		width := plotWidth * 3 / 5 / vg.Length(max(len(ats)*len(peers), 1))
		for i, peer := range peers {
			values := make(plotter.Values, len(ats))
			for k, at := range ats {
				if f, ok := o.find(peer, at, metric); ok {
					values[k] = f.P50 / unit
				}
			}
			bars, err := plotter.NewBarChart(values, width)
			if err != nil {
				return nil, err
			}
			bars.Color, bars.LineStyle.Width = colorOf(peer), 0
			bars.Offset = width * vg.Length(float64(i)-float64(len(peers)-1)/2)
			p.Add(bars)
			p.Legend.Add(peer, bars)
		}
		if len(ats) == 0 {
			return p, nil
		}
		p.NominalX(ats...)
		if len(ats) > 1 {
			p.X.Tick.Label.Rotation = math.Pi / 12
			p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = text.XRight, text.YTop
		}
		return p, nil
	}
}

// drawFlatness shows how medians of ours change with the directory's size, in situations that
// begin so.
func drawFlatness(begin string, metrics []string) func(*outcome) (*plot.Plot, error) {
	return func(o *outcome) (*plot.Plot, error) {
		p := plot.New()
		p.Y.Label.Text = "p50, times that in the empty directory"
		p.Legend.Top = true
		p.Add(plotter.NewGrid())
		ats := situationsWith(o, begin)
		for i, metric := range metrics {
			var xy plotter.XYs
			for k, at := range ats {
				if q, ok := quotient(o, metric, p50, ours, at, ats[0]); ok {
					xy = append(xy, plotter.XY{X: float64(k), Y: q})
				}
			}
			if len(xy) == 0 {
				continue
			}
			line, points, err := plotter.NewLinePoints(xy)
			if err != nil {
				return nil, err
			}
			line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
			line.Width = vg.Points(2)
			p.Add(line, points)
			p.Legend.Add(metric, line, points)
		}
		p.Y.Min, p.Y.Max = 0, max(p.Y.Max, 2)
		if len(ats) > 0 {
			p.NominalX(ats...)
		}
		return p, nil
	}
}

func situationsWith(o *outcome, begin string) []string {
	return slices.DeleteFunc(o.situations(ours), func(at string) bool { return !strings.HasPrefix(at, begin) })
}
