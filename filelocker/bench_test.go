package filelocker_test

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

// The benchmarks run over several lockers with the intervals that New sets, for example
//
//	go test -run='^$' -bench=. ./filelocker
//
// The stock locker needs some seconds for each hand-over, so it does one in that time, and more
// only with -benchtime=10x or the like.
func benchmarkKinds(b *testing.B, dir string, kinds []kind, run func(b *testing.B, f *fixture)) {
	for _, k := range kinds {
		b.Run(string(k), func(b *testing.B) {
			var s settings
			if k == stock {
				s = settings{Holder: 5 * time.Second, Acquirer: 2 * time.Second}
			}
			dir, err := os.MkdirTemp(dir, "locks")
			require.NoError(b, err)
			defer os.RemoveAll(dir)
			run(b, setUpIn(b, k, dir, s))
		})
	}
}

func everyKind() []kind { return []kind{ours, stock, memory} }

// delays is what a benchmark measures itself, because an iteration does more than that.
type delays []time.Duration

func (d delays) report(b *testing.B) {
	slices.Sort(d)
	var sum time.Duration
	for _, delay := range d {
		sum += delay
	}
	b.ReportMetric(float64(sum)/float64(len(d)), "ns/op")
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(d[(len(d)-1)*p/100])/float64(time.Microsecond), "p"+strconv.Itoa(p)+"-µs")
	}
}

// cycle is what tusd does for a request.
func cycle(b *testing.B, locker handler.Locker, id string) {
	lock, err := locker.NewLock(id)
	if err == nil {
		err = lock.Lock(context.Background(), func() {})
	}
	if err == nil {
		err = lock.Unlock()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// onDiskAndInMemory runs over the file system of temporary files, and over one without a disk,
// where the numbers depend on nothing but the system calls.
func onDiskAndInMemory(b *testing.B, run func(b *testing.B, f *fixture)) {
	b.Run("disk", func(b *testing.B) { benchmarkKinds(b, b.TempDir(), everyKind(), run) })
	b.Run("shm", func(b *testing.B) {
		if _, err := os.Stat("/dev/shm"); err != nil {
			b.Skip("there is no /dev/shm")
		}
		benchmarkKinds(b, "/dev/shm", everyKind(), run)
	})
}

func BenchmarkUncontended(b *testing.B) {
	onDiskAndInMemory(b, func(b *testing.B, f *fixture) {
		for b.Loop() {
			cycle(b, f.locker, "a")
		}
	})
}

// The locks that are held have been so for some time, and so are listened for.
func BenchmarkUncontendedBeside100Held(b *testing.B) {
	onDiskAndInMemory(b, func(b *testing.B, f *fixture) {
		held := make([]*grip, 100)
		for i := range held {
			held[i] = f.hold("held" + strconv.Itoa(i))
		}
		time.Sleep(100 * time.Millisecond)
		for b.Loop() {
			cycle(b, f.locker, "a")
		}
		for _, g := range held {
			g.mustNotBeAsked()
			g.unlock()
		}
	})
}

// The holder unlocks from its callback, and the next waiter gets the lock.
func BenchmarkHandOverInProcess(b *testing.B) {
	benchmarkKinds(b, b.TempDir(), everyKind(), func(b *testing.B, f *fixture) {
		last := takeToYield(b, f)
		var d delays
		for b.Loop() {
			start := time.Now()
			last = takeToYield(b, f)
			d = append(d, time.Since(start))
		}
		require.NoError(b, last.Unlock())
		d.report(b)
	})
}

// takeToYield takes a lock that is unlocked when somebody asks for it.
func takeToYield(b *testing.B, f *fixture) handler.Lock {
	lock, err := f.locker.NewLock("a")
	if err == nil {
		err = lock.Lock(context.Background(), func() {
			if err := lock.Unlock(); err != nil {
				b.Error(err)
			}
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	return lock
}

// The holder is another process, which unlocks from its callback.
func BenchmarkHandOverBetweenProcesses(b *testing.B) {
	benchmarkKinds(b, b.TempDir(), []kind{ours, stock}, func(b *testing.B, f *fixture) {
		holder := f.start()
		var d delays
		for b.Loop() {
			holder.tell("yield a")
			holder.expect("locked a")
			time.Sleep(10 * time.Millisecond) // an upload that has been running for a while
			start := time.Now()
			g := f.hold("a")
			d = append(d, time.Since(start))
			holder.expect("asked a", "unlocked a")
			g.unlock()
		}
		d.report(b)
	})
}

// The time runs from SIGKILL to the acquisition by a process that waits already.
func BenchmarkKilledHolder(b *testing.B) {
	benchmarkKinds(b, b.TempDir(), []kind{ours, stock}, func(b *testing.B, f *fixture) {
		var d delays
		for b.Loop() {
			holder := f.start()
			holder.tell("lock a")
			holder.expect("locked a")
			g := f.newLock("a")
			done := g.takeSoon(context.Background())
			holder.expect("asked a")
			time.Sleep(10 * time.Millisecond) // the waiter has come to rest
			start := time.Now()
			require.NoError(b, holder.cmd.Process.Kill())
			require.NoError(b, receive(f, done, "the lock of a killed process"))
			d = append(d, time.Since(start))
			holder.kill()
			g.unlock()
		}
		d.report(b)
	})
}

// What 5,000 held locks cost while nothing happens.
func BenchmarkHeldIdle(b *testing.B) {
	benchmarkKinds(b, b.TempDir(), []kind{ours, stock}, func(b *testing.B, f *fixture) {
		const n, window = 5000, time.Second
		before := runtime.NumGoroutine()
		held := make([]*grip, n)
		for i := range held {
			held[i] = f.hold("held" + strconv.Itoa(i))
		}
		time.Sleep(100 * time.Millisecond)
		more := runtime.NumGoroutine() - before
		var switches int64
		var waited time.Duration
		for b.Loop() {
			start := voluntarySwitches()
			time.Sleep(window)
			switches += voluntarySwitches() - start
			waited += window
		}
		for _, g := range held {
			g.unlock()
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(more), "goroutines")
		b.ReportMetric(float64(switches)/waited.Seconds(), "switches/s")
	})
}
