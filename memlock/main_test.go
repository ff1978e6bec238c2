package memlock_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// patience is after what time something that has to happen is taken to hang.
const patience = 30 * time.Second

// key is the lock's of most tests.
const key = "key"

// onBoth runs a test against the server of these tests, in a bubble with a clock of its own,
// and against the real memcached.
func onBoth(t *testing.T, test func(t *testing.T, newClient func() *memcache.Client)) {
	t.Parallel()
	t.Run("in process", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			test(t, func() *memcache.Client { return s.client(t) })
		})
	})
	t.Run("memcached", func(t *testing.T) {
		t.Parallel()
		m := startMemcached(t)
		test(t, func() *memcache.Client { return m.client(t) })
	})
}

// memcached is the real one.
type memcached struct {
	process *os.Process
	address string
	program string
}

func startMemcached(tb testing.TB) memcached {
	tb.Helper()
	program, err := exec.LookPath("memcached")
	childtest.Need(tb, "memcached", err == nil)
	// The port can be taken between its choice and its use.
	for range 10 {
		if m, ok := launch(tb, program, freePort(tb)); ok {
			return m
		}
	}
	require.FailNow(tb, "memcached does not start")
	panic("unreachable")
}

func launch(tb testing.TB, program, port string) (memcached, bool) {
	cmd := exec.Command(program, "-l", "127.0.0.1", "-p", port, "-U", "0", "-u", "root", "-m", "16", "-t", "1", "-vv")
	stderr, err := cmd.StderrPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "server listening") {
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				for lines.Scan() {
				}
			}()
			tb.Cleanup(func() {
				_ = cmd.Process.Kill()
				<-drained
				_ = cmd.Wait()
			})
			return memcached{cmd.Process, "127.0.0.1:" + port, program}, true
		}
	}
	_ = cmd.Wait()
	return memcached{}, false
}

// restart kills the process and starts another in its place, which knows nothing.
func (m memcached) restart(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, m.process.Kill())
	_, err := m.process.Wait()
	require.NoError(tb, err)
	_, port, err := net.SplitHostPort(m.address)
	require.NoError(tb, err)
	_, ok := launch(tb, m.program, port)
	require.True(tb, ok)
}

func freePort(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(tb, err)
	return port
}

func (m memcached) client(tb testing.TB) *memcache.Client {
	c := memcache.New(m.address)
	tb.Cleanup(func() { c.Close() })
	return c
}

// wait waits for the end of a context.
func wait(tb testing.TB, ctx context.Context) {
	tb.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		require.FailNow(tb, "the context is not cancelled")
	}
}

// value is what is stored under the key, or empty.
func value(tb testing.TB, c *memcache.Client, key string) string {
	tb.Helper()
	i, err := c.Get(key)
	if err != nil {
		require.ErrorIs(tb, err, memcache.ErrCacheMiss)
		return ""
	}
	return string(i.Value)
}

func nothing(context.Context) error { return nil }

var errTest = fmt.Errorf("what the function says")

// tick is how often to look for something.
const tick = 20 * time.Millisecond
