package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The ways to reach a server.
const (
	http1    = "HTTP/1.1"
	http1TLS = "HTTP/1.1 with TLS"
	h2c      = "HTTP/2"
	http2TLS = "HTTP/2 with TLS"
)

// peer is a client that speaks one protocol. With HTTP/2 all it does goes over one
// connection.
type peer struct{ client *http.Client }

func newPeer(t testing.TB, protocol string) *peer {
	t.Helper()
	transport := &http.Transport{
		Protocols:           new(http.Protocols),
		HTTP2:               &http.HTTP2Config{MaxReceiveBufferPerStream: 256 << 10},
		MaxIdleConnsPerHost: 100,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil { // what is under way to a slow reader is the server's to keep
				err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			}
			return conn, err
		},
	}
	transport.Protocols.SetHTTP1(protocol == http1 || protocol == http1TLS)
	transport.Protocols.SetHTTP2(protocol == http2TLS)
	transport.Protocols.SetUnencryptedHTTP2(protocol == h2c)
	t.Cleanup(transport.CloseIdleConnections)
	return &peer{&http.Client{Transport: transport}}
}

// speaking makes the server speak that protocol.
func speaking(t testing.TB, protocol string) option {
	t.Helper()
	switch protocol {
	case h2c:
		return args("-enable-h2c")
	case http1TLS, http2TLS:
		cert, key := certificate(t)
		return args("-tls-certificate", cert, "-tls-key", key)
	}
	return args()
}

// certificate writes the one that httptest has for its own servers.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	pair := s.TLS.Certificates[0]
	s.Close()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return cert, key
}

// request sends one tus request.
func (p *peer) request(ctx context.Context, method, url string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp)
}

// store makes an upload of these data and sends the first n bytes of them.
func (p *peer) store(t testing.TB, endpoint string, data []byte, n int) *upload {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a, err := p.request(ctx, http.MethodPost, endpoint, nil, "Upload-Length", strconv.Itoa(len(data)))
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, a.status, "%v", a)
	u := &upload{id: path.Base(a.url), data: data}
	a, err = p.request(ctx, http.MethodPatch, endpoint+u.id, bytes.NewReader(data[:n]),
		"Content-Type", "application/offset+octet-stream", "Upload-Offset", "0")
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, a.status, "%v", a)
	return u
}

// download is a GET whose client reads slowly, and fast when there is no need for that any
// more. Its server is blocked in writing most of the time.
type download struct {
	got   atomic.Int64
	began chan struct{} // closed when the first data are there, or it has failed before
	hurry chan struct{} // closed by who wants to see the end
	done  chan struct{} // closed after err is set
	err   error         // nil: the answer was complete
}

// slowly begins a download of u.data[from:to]. The upload may be unfinished: what is stored
// ends at to, then.
func (p *peer) slowly(t testing.TB, url string, u *upload, from, to int) *download {
	t.Helper()
	d := &download{began: make(chan struct{}), hurry: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		<-d.done
	})
	go func() {
		defer close(d.done)
		d.err = d.run(ctx, p, url+u.id, u.data[from:to], from)
		if d.got.Load() < firstData {
			close(d.began)
		}
	}()
	return d
}

// firstData is how much of a download is there when it counts as begun.
const firstData = 16 << 10

func (d *download) run(ctx context.Context, p *peer, url string, want []byte, from int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+len(want)-1))
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent || resp.ContentLength != int64(len(want)) {
		return fmt.Errorf("GET: %s, %d bytes", resp.Status, resp.ContentLength)
	}
	return d.read(resp.Body, want)
}

// read compares all that comes with want. A body that ends early without an error is the one
// thing that must never be: it is reported as what no other error is.
func (d *download) read(body io.Reader, want []byte) error {
	buf, at := make([]byte, 4<<10), 0
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		n, err := body.Read(buf)
		if at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n]) {
			return fmt.Errorf("wrong data at %d: %w", at, errSilent)
		}
		at += n
		if d.got.Store(int64(at)); at-n < firstData && at >= firstData {
			close(d.began)
		}
		switch {
		case err == io.EOF && at < len(want):
			return fmt.Errorf("%d bytes of %d: %w", at, len(want), errSilent)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case at < firstData:
			continue
		}
		select {
		case <-ticker.C:
		case <-d.hurry:
		}
	}
}

// errSilent says that a client was given wrong data without noticing.
var errSilent = errors.New("and no error")

func (d *download) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// wait returns how the download ended.
func (d *download) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(hang):
		require.FailNow(t, "a download does not end")
	}
	return d.err
}

// requireRunning waits until all have begun and checks that none has ended.
func requireRunning(t testing.TB, downloads []*download) {
	t.Helper()
	for _, d := range downloads {
		select {
		case <-d.began:
		case <-time.After(hang):
			require.FailNow(t, "a download does not begin")
		}
	}
	for i, d := range downloads {
		require.False(t, d.ended(), "download %d: %v", i, d.err)
	}
}

// requireCut checks that every download was broken off, and in a way that its client notices.
func requireCut(t testing.TB, downloads []*download) {
	t.Helper()
	for _, d := range downloads {
		close(d.hurry)
	}
	for i, d := range downloads {
		err := d.wait(t)
		require.Error(t, err, "download %d goes on to its end", i)
		require.NotErrorIs(t, err, errSilent, "download %d", i)
	}
}
