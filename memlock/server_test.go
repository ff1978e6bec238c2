package memlock_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// server is a memcached in this process, without a network: it works in a synctest bubble. It
// speaks what the client speaks, and counts time as memcached does, in ticks of a second, so
// that an entry lives for up to a second less than it was stored for.
type server struct {
	mu       sync.Mutex
	items    map[string]item
	cas      uint64
	requests []request
	before   func(request) // is called before a request is carried out, by its connection
	after    func(request) // and before it is answered
	refuse   bool          // no new connections
	conns    map[net.Conn]bool
	all      sync.WaitGroup
}

type item struct {
	value   string
	flags   string
	expires int64 // the tick; 0 means never
	cas     uint64
}

// request is one command with its block of data.
type request struct {
	conn  net.Conn
	time  time.Time
	verb  string
	args  []string
	value string
}

func newServer(tb testing.TB) *server {
	s := new(server)
	tb.Cleanup(func() {
		s.shut()
		s.all.Wait()
	})
	return s
}

// client is a new client of the server.
func (s *server) client(tb testing.TB) *memcache.Client {
	c := memcache.New("192.0.2.1:11211")
	c.DialContext = s.dial
	tb.Cleanup(func() { c.Close() })
	return c
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse {
		return nil, io.ErrClosedPipe
	}
	mine, theirs := net.Pipe()
	if s.conns == nil {
		s.conns, s.items = make(map[net.Conn]bool), make(map[string]item)
	}
	s.conns[mine] = true
	s.all.Go(func() { s.serve(mine) })
	return theirs, nil
}

// drop closes all connections.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// shut drops all connections and accepts no new ones.
func (s *server) shut() {
	s.mu.Lock()
	s.refuse = true
	s.mu.Unlock()
	s.drop()
}

// hook sets what happens before and after each request.
func (s *server) hook(before, after func(request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// stall returns a hook that keeps requests waiting until it is undone.
func (s *server) stall() (wait func(request), undo func()) {
	over := make(chan struct{})
	return func(request) { <-over }, func() {
		s.hook(nil, nil)
		close(over)
	}
}

func (s *server) serve(conn net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		conn.Close()
	}()
	in := bufio.NewReader(conn)
	for {
		r, err := read(in)
		if err != nil {
			return
		}
		r.conn, r.time = conn, time.Now()
		s.mu.Lock()
		s.requests = append(s.requests, r)
		before, after := s.before, s.after
		s.mu.Unlock()
		if before != nil {
			before(r)
		}
		answer := s.carryOut(r)
		if after != nil {
			after(r)
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func read(in *bufio.Reader) (r request, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return r, err
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return r, nil
	}
	r.verb, r.args = words[0], words[1:]
	switch r.verb {
	case "add", "set", "cas":
		n, err := strconv.Atoi(r.args[3])
		if err != nil {
			return r, err
		}
		data := make([]byte, n+2)
		if _, err := io.ReadFull(in, data); err != nil {
			return r, err
		}
		r.value = string(data[:n])
	}
	return r, nil
}

func (s *server) carryOut(r request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.verb == "flush_all" {
		clear(s.items)
		return "OK\r\n"
	}
	if len(r.args) == 0 {
		return "ERROR\r\n"
	}
	key := r.args[0]
	old, found := s.look(key)
	switch r.verb {
	case "gets":
		if !found {
			return "END\r\n"
		}
		return fmt.Sprintf("VALUE %s %s %d %d\r\n%s\r\nEND\r\n", key, old.flags, len(old.value), old.cas, old.value)
	case "delete":
		delete(s.items, key)
		return "DELETED\r\n"
	case "add":
		if found {
			return "NOT_STORED\r\n"
		}
	case "cas":
		if !found {
			return "NOT_FOUND\r\n"
		}
		if r.args[4] != strconv.FormatUint(old.cas, 10) {
			return "EXISTS\r\n"
		}
	case "set":
	default:
		return "ERROR\r\n"
	}
	s.cas++
	expires, err := strconv.ParseInt(r.args[2], 10, 64)
	if err != nil {
		return "CLIENT_ERROR bad expiry\r\n"
	}
	if expires != 0 {
		expires += time.Now().Unix()
	}
	s.items[key] = item{r.value, r.args[1], expires, s.cas}
	return "STORED\r\n"
}

func (s *server) look(key string) (item, bool) {
	i, found := s.items[key]
	return i, found && (i.expires == 0 || time.Now().Unix() < i.expires)
}

// entry is the value under a key, and how long it will live. It is empty if there is none.
func (s *server) entry(key string) (string, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.look(key)
	if !found {
		return "", 0
	}
	return i.value, time.Until(time.Unix(i.expires, 0))
}

// log is what has been asked so far.
func (s *server) log() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}
