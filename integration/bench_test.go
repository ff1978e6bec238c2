package integration_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// BenchmarkResume measures what a client waits for after its connection has died: from
// sending HEAD to its answer, while the server still waits for the rest of the old PATCH.
// The figure is the median, ms/answer.
//
// Stock tusd runs with its defaults, and asks at any time of its polling: one round takes
// seconds, so keep -benchtime at a few rounds (20x).
func BenchmarkResume(b *testing.B) {
	for _, locker := range []string{"ours", "stock"} {
		var options []option
		// The old PATCH has lasted for a random time when the client comes back.
		stalledFor := 20 * time.Millisecond
		if locker == "stock" {
			options = []option{stock(), args("-filelock-holder-poll-interval=5s", "-filelock-acquirer-poll-interval=2s")}
			stalledFor = 5 * time.Second
		}
		b.Run(locker+"/one server", func(b *testing.B) {
			s := startServer(b, b.TempDir(), options...)
			benchmarkResume(b, s, s, stalledFor)
		})
		b.Run(locker+"/two servers", func(b *testing.B) {
			dir := b.TempDir()
			benchmarkResume(b, startServer(b, dir, options...), startServer(b, dir, options...), stalledFor)
		})
	}
}

func benchmarkResume(b *testing.B, from, to *server, stalledFor time.Duration) {
	b.Helper()
	var took []time.Duration
	data := content(1, 64<<10)
	for b.Loop() {
		u := create(b, from.url, data)
		s := stall(b, from.url, u, 0, len(data)/2)
		u.awaitSize(b, from.dir, len(data)/2)
		<-time.After(rand.N(stalledFor))

		start := time.Now()
		a, err := head(b.Context(), to.url+u.id)
		took = append(took, time.Since(start))
		if err != nil || a.offset != len(data)/2 {
			b.Fatalf("HEAD: %v %v", a, err)
		}
		s.abort()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/float64(time.Millisecond), "ms/answer")
	b.ReportMetric(float64(took[len(took)-1])/float64(time.Millisecond), "max-ms/answer")
	// A round consists mostly of waiting before the measurement.
	b.ReportMetric(0, "ns/op")
}
