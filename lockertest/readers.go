package lockertest

import "github.com/tus/tusd/v2/pkg/handler"

// read takes a lock that readers share, which has to be possible.
func (c *check) read(l handler.Locker, id string) *grip {
	c.Helper()
	g := c.grip(l, id).reader()
	g.begin()
	g.mustGet()
	return g
}

// mustKeepReadersOut requires that a reader has to wait.
func (c *check) mustKeepReadersOut(l handler.Locker, id string) {
	c.Helper()
	c.grip(l, id).reader().mustTimeOut()
}

// readersShare: readers hold at the same time, and are not asked to let go for each other.
func readersShare(c *check, a, b handler.Locker) {
	id := c.id()
	var readers []*grip
	for i := range 6 {
		readers = append(readers, c.read([]handler.Locker{a, b}[i%2], id))
	}
	c.settle(a, b)
	for _, r := range readers {
		r.mustBeAskedOnly(0, "readers share")
	}
	for i, r := range readers {
		r.unlock()
		if i == 0 {
			c.read(a, id).unlock()
		}
	}
	c.mustBeFree(a, id)
	c.mustBeFree(b, id)
}

// readersAndWriter: a writer asks all readers and waits for all of them, and readers ask the
// writer and wait for it.
func readersAndWriter(c *check, a, b handler.Locker) {
	id := c.id()
	readers := []*grip{c.read(a, id), c.read(a, id), c.read(a, id)}
	writer := c.wait(b, id)
	for _, r := range readers {
		r.mustBeAsked()
	}
	c.mustBeBusy(a, id)
	for _, r := range readers {
		r.mustBeAskedOnly(1, "by the writers")
	}
	for _, r := range readers {
		c.mustBeBusy(a, id)
		writer.mustWait()
		r.unlock()
	}
	writer.mustGet()
	c.mustKeepReadersOut(a, id)
	c.mustKeepReadersOut(b, id)
	reader := c.grip(a, id).reader()
	reader.begin()
	writer.mustBeAsked()
	reader.mustWait()
	writer.unlock()
	reader.mustGet()
	c.read(b, id).unlock()
	reader.unlock()
	c.mustBeFree(b, id)
}

// writerBesideReader: a writer asks all readers at once, not first those of its own process.
func writerBesideReader(c *check, a, b handler.Locker) {
	id := c.id()
	far, near := c.read(a, id), c.read(b, id)
	writer := c.wait(b, id)
	near.mustBeAsked()
	far.mustBeAsked()
	writer.mustWait()
	near.unlock()
	c.mustBeBusy(a, id)
	writer.mustWait()
	far.unlock()
	writer.mustGet()
	writer.unlock()
	c.mustBeFree(a, id)
}

// readersBehindWriter: a reader that comes while a writer waits does not get in before it.
func readersBehindWriter(c *check, a, b handler.Locker) {
	id := c.id()
	for range 3 {
		first := c.read(a, id)
		writer := c.wait(b, id)
		first.mustBeAsked()
		c.mustKeepReadersOut(a, id)
		c.mustKeepReadersOut(b, id)
		writer.mustWait()
		first.unlock()
		writer.mustGet()
		writer.unlock()
	}
	c.mustBeFree(a, id)
}

// readersDoNotStarve: readers that follow each other without a gap, as those do who let go only
// when the next one is there, do not keep a writer waiting for ever.
func readersDoNotStarve(c *check, a, b handler.Locker) {
	id := c.id()
	reader := c.read(a, id)
	writer := c.wait(b, id)
	reader.mustBeAsked()
	const most = 20
	for i := range most {
		next := c.grip([]handler.Locker{b, a}[i%2], id).reader()
		next.begin()
		overlaps := next.within(moment)
		reader.unlock()
		if !overlaps {
			writer.mustGet()
			writer.unlock()
			next.mustGet()
			next.unlock()
			c.mustBeFree(a, id)
			return
		}
		reader = next
	}
	c.Fatalf("%d readers were let in while a writer waited", most)
}

// writerGivesUp: a writer that does not wait any more keeps no readers out, and interrupts
// none.
func writerGivesUp(c *check, a, b handler.Locker) {
	id := c.id()
	first := c.read(a, id)
	c.mustBeBusy(b, id)
	second, third := c.read(b, id), c.read(a, id)
	c.settle(a, b)
	for _, r := range []*grip{second, third} {
		r.mustBeAskedOnly(0, "the writer gave up before")
	}
	first.unlock()
	second.unlock()
	third.unlock()
	next := c.take(a, id)
	c.settle(a, b)
	next.mustBeAskedOnly(0, "the writer gave up before")
	next.unlock()
	c.mustBeFree(b, id)
}

// readersCrash: a reader that is killed is in nobody's way; the others keep the lock.
func readersCrash(c *check) {
	victim, other := c.start(), c.start()
	id := c.id()
	first := c.read(victim, id)
	second := c.read(c.locker, id)
	writer := c.wait(other, id)
	first.mustBeAsked()
	second.mustBeAsked()
	victim.kill()
	c.mustBeBusy(c.locker, id)
	writer.mustWait()
	second.unlock()
	writer.mustGet()
	writer.unlock()
	c.mustBeFree(c.locker, id)
}
