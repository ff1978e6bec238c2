package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Servers are killed, stopped and restarted at random while clients upload in pieces, now at
// this server, now at that one. What was acknowledged is never lost, what is on disk is
// always the beginning of what the client sends, and in the end only the uploads are left.
func TestChaos(t *testing.T) {
	need(t, "a system with SIGSTOP", canSuspend)
	t.Parallel()
	length, seed := *chaosFor, *chaosSeed
	if testing.Short() {
		length = min(length, 3*time.Second)
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with: -chaos=%v -seed=%d", length, seed)

	f := startFleet(t, t.TempDir())
	over, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	clients := make([]*chaosClient, 4)
	var group sync.WaitGroup
	for i := range clients {
		c := newChaosClient(f, seed, uint64(i))
		clients[i] = c
		group.Go(func() {
			if c.err = c.run(t.Context(), over); c.err != nil {
				stop() // the state of now tells more than that of later
			}
		})
	}
	f.harass(t, over, rand.New(rand.NewPCG(seed, 0)))
	group.Wait()

	var all []*upload
	for i, c := range clients {
		require.NoError(t, c.err, "client %d", i)
		t.Logf("client %d: %d uploads; %v; %v", i, len(c.uploads), &c.hands[0], &c.hands[1])
		all = append(all, c.uploads...)
	}
	require.NotEmpty(t, all)
	lastLook(t, f, all)
}

// lastLook asks once for each upload: whoever locks it removes what the killed have left.
func lastLook(t *testing.T, f *fleet, all []*upload) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*hang)
	defer cancel()
	t.Logf("%d uploads; before the last look there are also %v", len(all), noUploads(t, f.dir))
	for i, u := range all {
		_, err := head(ctx, f.servers[i%len(f.servers)].url+u.id)
		require.NoError(t, err)
		if !u.deleted {
			u.requireComplete(t, f.dir)
		}
	}
	await(t, "a directory with nothing but uploads", func() bool {
		left := noUploads(t, f.dir)
		for _, name := range left {
			data, _ := os.ReadFile(filepath.Join(f.dir, name))
			t.Logf("left: %s: %q", name, data)
		}
		return len(left) == 0
	})
}

// noUploads lists what is neither data nor info of an upload. There are uploads that no
// client knows: the server was killed before it could answer the POST.
func noUploads(t *testing.T, dir string) (names []string) {
	t.Helper()
	upload := regexp.MustCompile(`^[0-9a-f]{32}(\.info)?$`)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !upload.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// fleet is three servers on one directory.
type fleet struct {
	dir     string
	mu      sync.Mutex
	servers []*server
}

func startFleet(t *testing.T, dir string) *fleet {
	t.Helper()
	f := &fleet{dir: dir}
	for i := range 3 {
		options := []option{args("-acquire-lock-timeout", "1s")}
		if i > 0 && runtime.GOOS == "linux" && os.Getuid() == 0 {
			options = append(options, contained(fmt.Sprintf("tusd-%d", i)))
		}
		f.servers = append(f.servers, startServer(t, dir, options...))
	}
	return f
}

// endpoint is one of the servers'; it may be dead or stopped.
func (f *fleet) endpoint(rng *rand.Rand) string {
	i := rng.IntN(len(f.servers))
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.servers[i].url
}

// harass does one thing after the other to one of the servers. All run again when it returns.
func (f *fleet) harass(t *testing.T, over context.Context, rng *rand.Rand) {
	t.Helper()
	done := make(map[string]int)
	for over.Err() == nil {
		i := rng.IntN(len(f.servers))
		s := f.servers[i]
		what := []string{"kill", "kill and wait", "stop", "stop and kill", "terminate"}[rng.IntN(5)]
		done[what]++
		switch what {
		case "kill":
			s.kill(t)
		case "kill and wait":
			s.kill(t)
			pace(over, rng, 300)
		case "stop", "stop and kill":
			s.suspend(t)
			pace(over, rng, 500)
			if what == "stop" {
				s.proceed(t)
			} else {
				s.kill(t)
			}
		case "terminate":
			require.Zero(t, s.terminate(t))
		}
		if what != "stop" {
			s = startServer(t, f.dir, s.options...)
			f.mu.Lock()
			f.servers[i] = s
			f.mu.Unlock()
		}
		pace(over, rng, 150)
	}
	names := make([]string, 0, len(done))
	for what, n := range done {
		names = append(names, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(names)
	t.Logf("done to the servers: %v", names)
}

// pace lets up to that many milliseconds pass.
func pace(ctx context.Context, rng *rand.Rand, most int) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rng.IntN(most)) * time.Millisecond):
	}
}
