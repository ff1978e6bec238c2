package lockertest

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

// manyIDs: thousands of uploads can be held at once, and are held indeed.
func manyIDs(c *check) {
	var held []*grip
	for range 2000 {
		held = append(held, c.take(c.locker, c.id()))
	}
	var waiters []*grip
	for i := 0; i < len(held); i += len(held)/20 + 1 {
		waiters = append(waiters, c.grip(c.locker, held[i].id))
	}
	c.all(len(waiters), func(i int) error { return waiters[i].timesOut() })
	last := held[len(held)-1]
	waiter := c.wait(c.locker, last.id)
	last.mustBeAsked()
	for _, g := range held {
		g.unlock()
	}
	waiter.mustGet()
	waiter.unlock()
	for i := 0; i < len(held); i += len(held)/20 + 1 {
		c.mustBeFree(c.locker, held[i].id)
	}
}

// What a held lock may cost, for the capability Idle. A goroutine per lock is far above the
// one. Other tests of the process may disturb the measurement, so that the best one counts of
// all that there is time for.
const (
	goroutinesPerLock = 0.25
	bytesPerLock      = 8 << 10
)

// idle: a held lock costs little.
func idle(c *check) {
	goroutines, bytes := math.Inf(1), math.Inf(1)
	for end := time.Now().Add(c.f.patience()); ; {
		started, g, b := c.costOfHolding(500)
		if started > goroutinesPerLock {
			c.Fatalf("each Lock starts %.1f goroutines", started)
		}
		goroutines, bytes = min(goroutines, g), min(bytes, b)
		if goroutines <= goroutinesPerLock && bytes <= bytesPerLock {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	c.Fatalf("a held lock costs %.1f goroutines and %.0f bytes", goroutines, bytes)
}

// costOfHolding measures what one of n held locks costs. What Lock itself has started is known
// for sure; the rest is what there is more in the process.
func (c *check) costOfHolding(n int) (started, goroutines, bytes float64) {
	c.settle(c.locker, c.locker)
	goroutinesBefore, bytesBefore := usage()
	locks := make([]handler.Lock, n)
	mark := c.id() + " of " + c.Name()
	pprof.Do(c.ctx, pprof.Labels(labelKey, mark), func(context.Context) {
		for i := range locks {
			var err error
			if locks[i], err = c.locker.NewLock(c.id()); err == nil {
				err = locks[i].Lock(c.ctx, func() {})
			}
			if err != nil {
				c.Fatal(err)
			}
		}
	})
	c.settle(c.locker, c.locker)
	goroutinesAfter, bytesAfter := usage()
	started = float64(labelled(mark))
	for _, l := range locks {
		if err := l.Unlock(); err != nil {
			c.Fatal(err)
		}
	}
	per := float64(n)
	return started / per, (goroutinesAfter - goroutinesBefore) / per, (bytesAfter - bytesBefore) / per
}

// labelKey is a label that goroutines inherit from the one that starts them.
const labelKey = "lockertest"

// labelled counts the goroutines with a label. The profile has one paragraph for those that
// are alike, which begins with their number.
func labelled(mark string) (n int) {
	var profile strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
	for text := range strings.SplitSeq(profile.String(), "\n\n") {
		// The first paragraph follows the profile's own title.
		count, _, _ := strings.Cut(text, " @ ")
		count = count[strings.LastIndexByte(count, '\n')+1:]
		if alike, err := strconv.Atoi(count); err == nil && strings.Contains(text, fmt.Sprintf("%q:%q", labelKey, mark)) {
			n += alike
		}
	}
	return n
}

func usage() (goroutines, bytes float64) {
	runtime.GC()
	runtime.GC() // the first one only finds what finalizers keep
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(runtime.NumGoroutine()), float64(m.HeapAlloc) + float64(m.StackInuse)
}
