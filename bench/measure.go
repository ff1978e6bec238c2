//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// measure is one line of the table: peers that do the same in turns.
type measure struct {
	name    string // what -run matches
	title   string
	rounds  int
	setUp   func(ctx context.Context, e *env) ([]peer, error)
	targets []target
	show    []string // the metrics to be shown, the most important first; all if empty
}

// peer is one of those who are compared, in one situation.
type peer struct {
	name   string
	at     string // the situation; empty where there is but one
	round  func(ctx context.Context, s *series) error
	rounds int           // fewer than the measure has; 0 is as many
	budget time.Duration // no more rounds when these have taken so long; 0 is no bound
}

// outcome is what came out of a measure.
type outcome struct {
	Measure string    `json:"measure"`
	Title   string    `json:"title"`
	Seconds float64   `json:"seconds"`
	Results []result  `json:"results"`
	Targets []verdict `json:"targets"`

	show []string
}

// result is what was measured of one peer in one situation.
type result struct {
	Peer    string   `json:"peer"`
	At      string   `json:"at,omitempty"`
	Rounds  int      `json:"rounds"`
	Figures []figure `json:"figures"`
}

// run measures. The peers take turns, so that what else goes on in the machine meets all of
// them alike.
func (m measure) run(ctx context.Context, e *env) (o *outcome, err error) {
	start := time.Now()
	defer func() {
		if cerr := e.close(); err == nil && cerr != nil {
			err = fmt.Errorf("%s: clean up: %w", m.name, cerr)
		}
	}()
	peers, err := m.setUp(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("%s: set up: %w", m.name, err)
	}
	rounds := e.rounds
	if rounds == 0 {
		rounds = max(e.pick(m.rounds, m.rounds/10, 1), 1)
	}
	collected, err := alternate(ctx, m.name, rounds, peers, e.progress)
	if err != nil {
		return nil, err
	}
	o = &outcome{Measure: m.name, Title: m.title, Seconds: time.Since(start).Seconds(), show: m.show}
	for i, c := range collected {
		r := result{Peer: peers[i].name, At: peers[i].at, Rounds: c.rounds}
		for _, metric := range c.metrics {
			r.Figures = append(r.Figures, summarize(metric))
		}
		o.Results = append(o.Results, r)
	}
	for _, t := range m.targets {
		o.Targets = append(o.Targets, t.judge(o))
	}
	return o, nil
}

// turns is what one peer has done so far.
type turns struct {
	series
	rounds int
	took   time.Duration
}

func alternate(ctx context.Context, name string, rounds int, peers []peer, progress func(string)) ([]turns, error) {
	all := make([]turns, len(peers))
	for n := range rounds {
		// What one leaves behind, as data that is still to be written to disk, falls on another one each time.
		for _, i := range rand.Perm(len(peers)) {
			p, t := peers[i], &all[i]
			if p.rounds > 0 && t.rounds >= p.rounds || p.budget > 0 && t.took >= p.budget {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			progress(fmt.Sprintf("%s: round %d of %d, %s %s", name, n+1, rounds, p.name, p.at))
			start := time.Now()
			if err := p.round(ctx, &t.series); err != nil {
				return nil, fmt.Errorf("%s: %s %s: %w", name, p.name, p.at, err)
			}
			t.took += time.Since(start)
			t.rounds++
		}
	}
	return all, nil
}

// find returns a figure of the outcome.
func (o *outcome) find(peer, at, metric string) (figure, bool) {
	for _, r := range o.Results {
		if r.Peer != peer || r.At != at {
			continue
		}
		for _, f := range r.Figures {
			if f.Metric == metric {
				return f, f.N > 0
			}
		}
	}
	return figure{}, false
}

// situations lists those in which a peer was measured.
func (o *outcome) situations(peer string) (at []string) {
	for _, r := range o.Results {
		if r.Peer == peer {
			at = append(at, r.At)
		}
	}
	return at
}
