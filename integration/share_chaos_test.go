package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Readers and a writer share one upload at a time on three servers, which are killed at
// random. A write goes on in steps, so that a reader beside it would find a size at which the
// upload never rested; and a download that is on its way when a write begins must be cut.
// The test takes a third of what -chaos says.
func TestSharedChaos(t *testing.T) {
	t.Parallel()
	length, seed := *chaosFor/3, *chaosSeed
	if testing.Short() {
		length = min(length, 3*time.Second)
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with: -chaos=%v -seed=%d", 3*length, seed)

	c := &sharedChaos{fleet: startSharedFleet(t), seed: seed, rests: make(map[rest]bool), running: make(map[*reading]bool)}
	over, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	w := &chaosWriter{sharedChaos: c, rng: rand.New(rand.NewPCG(seed, 1))}
	readers := make([]*chaosReader, 8)
	errs := make([]error, 1+len(readers))
	var group sync.WaitGroup
	run := func(i int, f func(ctx, over context.Context) error) {
		group.Go(func() {
			if errs[i] = f(t.Context(), over); errs[i] != nil {
				stop() // the state of now tells more than that of later
			}
		})
	}
	run(0, w.run)
	for i := range readers {
		readers[i] = &chaosReader{sharedChaos: c, peer: newPeer(t, http1), rng: rand.New(rand.NewPCG(seed, uint64(2+i)))}
		run(1+i, readers[i].run)
	}
	t.Logf("servers killed: %d", c.fleet.killAtRandom(t, over, rand.New(rand.NewPCG(seed, 0))))
	group.Wait()

	for i, err := range errs {
		require.NoError(t, err, "writer 0, or reader %d", i)
	}
	c.check(t, readers)
	w.log(t)
	lastLook(t, c.fleet, w.uploads)
}

func startSharedFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{dir: t.TempDir()}
	for i := range 3 {
		var options []option
		if i > 0 && runtime.GOOS == "linux" && os.Getuid() == 0 {
			options = append(options, contained(fmt.Sprintf("tusd-%d", i)))
		}
		f.servers = append(f.servers, startServer(t, f.dir, options...))
	}
	return f
}

// killAtRandom kills one server after the other. All run again when it returns.
func (f *fleet) killAtRandom(t *testing.T, over context.Context, rng *rand.Rand) (kills int) {
	t.Helper()
	for ; over.Err() == nil; kills++ {
		pace(over, rng, 600)
		i := rng.IntN(len(f.servers))
		f.servers[i].kill(t)
		if rng.IntN(2) == 0 {
			pace(over, rng, 200)
		}
		s := startServer(t, f.dir, f.servers[i].options...)
		f.mu.Lock()
		f.servers[i] = s
		f.mu.Unlock()
	}
	return kills
}

// sharedChaos is what the writer and the readers know of each other.
type sharedChaos struct {
	fleet *fleet
	seed  uint64

	mu      sync.Mutex
	present *upload // nil while there is none worth reading
	rests   map[rest]bool
	seen    map[rest]int
	running map[*reading]bool
	longest time.Duration // of a download, which is about how long its lock was held
}

// rest is a size that an upload had when nobody was writing.
type rest struct {
	id   string
	size int
}

// inFlight is more than what can be between a server and its client: the largest buffer for
// sending that Linux allows by default, and the one of the client.
const inFlight = 5 << 20

// writing marks the downloads that must end, because a write has begun that they cannot have
// come after: they found the upload no larger than it was before.
func (c *sharedChaos) writing(u *upload, before int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.running {
		if r.id == u.id && r.size <= before && r.to-int(r.got.Load()) > inFlight {
			r.doomed = true
		}
	}
}

// current is what there is to read.
func (c *sharedChaos) current() *upload {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.present
}

// saw notes the size that a reader found.
func (c *sharedChaos) saw(id string, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[rest]int)
	}
	c.seen[rest{id, size}]++
}

// check compares what was seen with what the writer knows by now.
func (c *sharedChaos) check(t *testing.T, readers []*chaosReader) {
	t.Helper()
	n := 0
	for seen, times := range c.seen {
		n += times
		require.True(t, c.rests[seen], "upload %s was read when it had %d bytes, in the middle of a write", seen.id, seen.size)
	}
	t.Logf("%d sizes seen by readers, %d different, of %d at which there was no write", n, len(c.seen), len(c.rests))
	sum := make(map[string]int)
	for _, r := range readers {
		for what, n := range r.count {
			sum[what] += n
		}
	}
	names := make([]string, 0, len(sum))
	for what, n := range sum {
		names = append(names, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(names)
	t.Logf("readers: %v", names)
	require.NotZero(t, sum["GET cut"])
	require.NotZero(t, sum["GET complete"])
	require.NotZero(t, sum["HEAD"])
}
