package interrupt_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// hang is when a test gives up waiting; nothing is expected to take that long.
const hang = 30 * time.Second

// protocols are the ways in which a request can reach a handler.
var protocols = []string{"HTTP/1.1", "HTTP/1.1 TLS", "h2", "h2c"}

// forProtocols runs test with each of the protocols.
func forProtocols(t *testing.T, test func(t *testing.T, protocol string)) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { test(t, protocol) })
	}
}

// site is a server and a client for it.
type site struct {
	url    string
	client *http.Client
}

// serve serves h, whose requests carry an interrupt.Request.
func serve(t *testing.T, protocol string, h http.HandlerFunc) *site {
	t.Helper()
	return serveOn(t, protocol, h, func(l net.Listener) net.Listener { return l })
}

func serveOn(t *testing.T, protocol string, h http.HandlerFunc, listener func(net.Listener) net.Listener) *site {
	t.Helper()
	transport := &http.Transport{
		Protocols:       new(http.Protocols),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	server := httptest.NewUnstartedServer(serveEach(h))
	server.Listener = listener(server.Listener)
	switch protocol {
	case "HTTP/1.1":
		transport.Protocols.SetHTTP1(true)
		server.Start()
	case "HTTP/1.1 TLS":
		transport.Protocols.SetHTTP1(true)
		server.StartTLS()
	case "h2":
		transport.Protocols.SetHTTP2(true)
		server.EnableHTTP2 = true
		server.StartTLS()
	case "h2c":
		transport.Protocols.SetUnencryptedHTTP2(true)
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	// The client must not end what the test is waiting for.
	return &site{server.URL, &http.Client{Transport: transport, Timeout: 2 * hang}}
}

func serveEach(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, w, r := interrupt.New(r.Context(), w, r)
		q.Serve(h, w, r)
	})
}

// get sends a request and returns the answer and its whole body.
func (s *site) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	res, err := s.client.Get(s.url + path)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

// dial opens a connection for requests that no http.Client sends.
func (s *site) dial(t *testing.T) net.Conn {
	t.Helper()
	addr, secure := strings.CutPrefix(s.url, "https://")
	conn, err := net.Dial("tcp", strings.TrimPrefix(addr, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(hang)))
	if secure {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return conn
}

// receive returns what comes from c, and fails the test when nothing does.
func receive[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(hang):
		require.FailNow(t, "nothing happens", what)
	}
	return v
}
