//go:build linux

package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func throughputOf(peer, at string, perSecond float64) result {
	return result{Peer: peer, At: at, Figures: []figure{{Metric: "throughput", N: 1, P50: perSecond}}}
}

func TestKeepsUp(t *testing.T) {
	o := &outcome{Results: []result{
		throughputOf(ours, "none", 100), throughputOf(ours, "some", 90), throughputOf(ours, "many", 80),
		throughputOf(memory, "none", 200), throughputOf(memory, "some", 200), throughputOf(memory, "many", 100),
	}}
	many := []string{"some", "many"}
	v := keepsUp("alone", "none", many).judge(o)
	require.InDelta(t, 0.8, v.Figure, 1e-9)
	require.False(t, v.Reached)
	v = keepsUp("with another", "none", many, memory).judge(o)
	require.InDelta(t, 0.9, v.Figure, 1e-9)
	require.True(t, v.Reached)
}

// Where something was not measured, as on a machine without tmpfs, the results can be written all the same.
func TestNothingToKeepUpWith(t *testing.T) {
	for _, target := range directorySize().targets {
		v := target.judge(new(outcome))
		require.False(t, v.Known, v.Target)
		_, err := json.Marshal(v)
		require.NoError(t, err, v.Target)
	}
}
