//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is a measure whose samples are known: the n-th round gives n times a peer's factor.
func fake() measure {
	grow := func(name, at string, factor float64) peer {
		n := 0.0
		return peer{name: name, at: at, round: func(_ context.Context, s *series) error {
			n++
			s.add("time", ns, n*factor)
			return nil
		}}
	}
	return measure{
		name: "fake", title: "a measure", rounds: 3,
		setUp: func(context.Context, *env) ([]peer, error) {
			slow := grow(stock, "small", 4000)
			slow.rounds = 1
			return []peer{grow(ours, "small", 1000), grow(ours, "large", 1500), slow, grow(floor, "small", 0)}, nil
		},
		targets: []target{
			under("p50 under 3 µs", ns, 3000, "time", p50),
			under("max under 3 µs", ns, 3000, "time", most),
			within("at most 0.55 × stock", 0.55, stock, "time", p50, "small"),
			within("at most 0.55 × stock everywhere", 0.55, stock, "time", p50),
			flat("flat", 1.1, "time", p50, "small"),
			within("times nothing", 1, floor, "time", p50, "small"),
		},
	}
}

func fakeEnv() *env { return &env{progress: func(string) {}} }

func TestTargets(t *testing.T) {
	o, err := fake().run(t.Context(), fakeEnv())
	require.NoError(t, err)
	var got []string
	for _, v := range o.Targets {
		got = append(got, v.word()+": "+v.value())
	}
	require.Equal(t, []string{
		"reached: 3 µs",
		"NOT reached: 4.50 µs",
		"reached: 0.50",
		"not measured: –", // stock has no such situation
		"NOT reached: 1.50",
		"not measured: –", // nothing can be a multiple of nothing
	}, got)
}

func TestMarkdown(t *testing.T) {
	o, err := fake().run(t.Context(), fakeEnv())
	require.NoError(t, err)
	r := report{Date: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), Outcomes: []*outcome{o}}
	text := r.markdown([]plotFile{{"a.svg", "a plot"}})
	for _, line := range []string{
		"| measure | target | limit | figure | reached |",
		"| fake | p50 under 3 µs | 3 µs | 3 µs | reached |",
		"| fake | flat | 1.10 | 1.50 | NOT reached |",
		"![a plot](a.svg)",
		"### fake: a measure",
		"| figure | ours | stock | floor |",
		"| time, small | 2 µs / 3 µs / 3 µs | 4 µs | 0 ns |",
		"| time, large | 3 µs / 4.50 µs / 4.50 µs | – | – |",
	} {
		require.Contains(t, strings.Split(text, "\n"), line)
	}
	_, err = json.Marshal(r)
	require.NoError(t, err)
}

func TestShow(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, ns, "0 ns"},
		{999, ns, "999 ns"},
		{1500, ns, "1.50 µs"},
		{-2.5e6, ns, "-2.50 ms"},
		{4e9, ns, "4 s"},
		{845.4, size, "845 B"},
		{12.34, perSec, "12.3/s"},
		{0.651, ratio, "0.65"},
		{10, count, "10"},
	} {
		require.Equal(t, c.want, show(c.v, c.unit))
	}
}

// All get their turn in each round, each one after each other one at times. One whose budget is spent has
// no more turns.
func TestAlternate(t *testing.T) {
	var order []string
	turn := func(name string) peer {
		return peer{name: name, round: func(context.Context, *series) error {
			order = append(order, name)
			return nil
		}}
	}
	spent := turn("c")
	spent.budget = time.Nanosecond
	const rounds = 200
	_, err := alternate(t.Context(), "m", rounds, []peer{turn("a"), turn("b"), turn("d"), spent}, func(string) {})
	require.NoError(t, err)
	all := strings.Join(order, "")
	require.Equal(t, 1, strings.Count(all, "c"), all)
	all = strings.ReplaceAll(all, "c", "")
	for n := range rounds {
		require.ElementsMatch(t, []rune("abd"), []rune(all[3*n:3*n+3]), all)
	}
	for _, pair := range []string{"ab", "ad", "ba", "bd", "da", "db"} {
		require.Contains(t, all, pair)
	}

	bad := peer{name: ours, at: "here", round: func(context.Context, *series) error { return errors.New("broken") }}
	_, err = alternate(t.Context(), "m", 1, []peer{bad}, func(string) {})
	require.EqualError(t, err, "m: ours here: broken")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = alternate(ctx, "m", 1, []peer{turn("a")}, func(string) {})
	require.ErrorIs(t, err, context.Canceled)
}

// What a measure has set up is given back when it fails, too.
func TestCleanUpAfterFailure(t *testing.T) {
	var closed []int
	e := fakeEnv()
	m := measure{name: "m", setUp: func(_ context.Context, e *env) ([]peer, error) {
		for i := range 3 {
			e.onClose(func() error {
				closed = append(closed, i)
				return nil
			})
		}
		return nil, errors.New("no room")
	}}
	_, err := m.run(t.Context(), e)
	require.EqualError(t, err, "m: set up: no room")
	require.Equal(t, []int{2, 1, 0}, closed)
}

func TestMeasuresAreNamed(t *testing.T) {
	all := names(measures())
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	require.Len(t, slices.Compact(sorted), len(all), "two measures of one name")
	for _, m := range measures() {
		require.Regexp(t, `^[a-z-]+$`, m.name)
		require.NotEmpty(t, m.title)
		require.NotEmpty(t, m.targets)
		require.Positive(t, m.rounds)
	}
}

// What fails does not keep the others from being measured, and is not passed over in silence.
func TestOneMeasureFails(t *testing.T) {
	fine := func(name string) measure {
		return measure{name: name, rounds: 1, setUp: func(context.Context, *env) ([]peer, error) {
			return []peer{{name: ours, round: func(_ context.Context, s *series) error { s.add("a", count, 1); return nil }}}, nil
		}}
	}
	broken := measure{name: "broken", setUp: func(context.Context, *env) ([]peer, error) { return nil, errors.New("no such thing") }}
	var out strings.Builder
	o := options{run: regexp.MustCompile(""), dir: t.TempDir()}
	r, err := o.measure(t.Context(), []measure{fine("first"), broken, fine("last")}, &out)
	require.ErrorContains(t, err, "broken: set up: no such thing")
	require.Contains(t, out.String(), "no such thing")
	require.Len(t, r.Outcomes, 2)
	require.Contains(t, r.markdown(nil), "missing: broken.")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err = o.measure(ctx, []measure{fine("first")}, &out)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, r.Outcomes)
}
