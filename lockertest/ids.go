package lockertest

import (
	"errors"
	"strings"

	"github.com/tus/tusd/v2/pkg/handler"
)

// ordinaryIDs are what stores make, and have to be accepted.
func ordinaryIDs() []string {
	return []string{
		"a", "B", "0", "24e533e02ec3bc40c387f1a0e460e216", "24e533e02ec3bc40c387f1a0e460e216+1", "a-b", "a_b", "a.b",
		"550e8400-e29b-41d4-a716-446655440000", strings.Repeat("f", 64),
	}
}

// strangeIDs may come from a client. None of them is another name of another one, though a
// locker can be tempted to think so.
func strangeIDs() []string {
	long := strings.Repeat("x", 254)
	return []string{
		// Out of the way, and what a cleaned path would make of that.
		"", ".", "..", "...", "/", "//", "../x", "../../x", "a/../x", "/x", "//x", "x", "./../x", `..\x`, "C:x", `\\host\x`,
		// Names of a locker's own files.
		"a.lock", "a.stop", "a.info", "a.lock.lock", "a.lock.stop", ".lock", ".stop", "lock", "a.lock.1", "a.tmp", "~a",
		// Encodings and folders.
		"a%2Fb", "a%2fb", "a%252Fb", `a\b`, "a:b", "a b", "a+b", "a%00b", "a%", "%61", "folder/a", "folder/b", "a/b",
		// What ends a name too early.
		"a\x00", "a\x00b", "\x00", "a\n", "a\nb", "a ", "a.", " a", "a#", "a?", "a*", "a;b", "a'b", `a"b`, "$a", "`a`",
		// Letters that look alike, and what is no text.
		"A", "b", "\u00e9", "e\u0301", "\u00c9", "\u017f", "S", "\u00df", "ss", "\u202ea", "\ufeffa", "a\u200b", "日本語", "🔒", "\xff", "\xfe",
		// Long.
		strings.Repeat("x", 100), long, long + "x", long + "xx", long + "xy", strings.Repeat("x", 5000), strings.Repeat("x", 5001),
		strings.Repeat("a/", 2000) + "x",
		// What a database or a cache makes something of.
		"a{b}", "{a}", "a,b", "a|b", "a=b", "a@b", "-", "--", "-a", "0x0", "00", "nil", "null", "CON", "con.lock",
	}
}

// accepted tries to take a lock of an ID that may be refused, by NewLock or by Lock.
func (c *check) accepted(id string) (g *grip, ok bool) {
	c.Helper()
	lock, err := c.locker.NewLock(id)
	if err != nil {
		return nil, false
	}
	g = &grip{c: c, id: id, lock: lock, local: true, asked: make(chan struct{}, 64)}
	g.begin()
	var p *panicked
	switch err := g.result(); {
	case err == nil:
		return g, true
	case errors.Is(err, handler.ErrLockTimeout), errors.As(err, &p):
		c.Fatalf("Lock of %.80q: %v", id, err)
	}
	return nil, false
}

// hostileIDs: an ID is refused, or has a lock of its own.
func hostileIDs(c *check) {
	var held []*grip
	for _, id := range ordinaryIDs() {
		held = append(held, c.take(c.locker, id))
	}
	for _, id := range strangeIDs() {
		if g, ok := c.accepted(id); ok {
			held = append(held, g)
		}
	}
	// All at once: each of these waits takes a moment.
	waiters := make([]*grip, len(held))
	for i, g := range held {
		waiters[i] = c.grip(c.locker, g.id)
	}
	c.all(len(waiters), func(i int) error { return waiters[i].timesOut() })
	for _, g := range held {
		g.unlock()
	}
	for _, g := range held {
		c.mustBeFree(c.locker, g.id)
	}
}

// confinement: the lock of an ID stays where locks belong.
func confinement(c *check) {
	ids := append(ordinaryIDs(), strangeIDs()...)
	for _, id := range ids {
		g, ok := c.accepted(id)
		if !ok {
			c.f.Audit(c, c.locker)
			continue
		}
		c.f.Audit(c, c.locker, id)
		g.unlock()
		if c.Failed() {
			c.Fatalf("with a lock of %.80q", id)
		}
	}
}
