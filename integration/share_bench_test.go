package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	stocklocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"
	tuslog "golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// readingSite is tusd's handler in this process with some locker, or none, and one upload.
type readingSite struct {
	http.Handler
	id   string
	data []byte
}

// lockers are what the benchmarks of reading run over.
var lockers = []struct {
	name   string
	shared bool
	make   func(dir string) handler.Locker
	window time.Duration // how long to measure
}{
	{"ours, ShareReads", true, func(dir string) handler.Locker { return filelocker.New(dir) }, time.Second},
	{"ours, exclusive", false, func(dir string) handler.Locker { return filelocker.New(dir) }, time.Second},
	{"memorylocker", false, func(string) handler.Locker { return memorylocker.New() }, time.Second},
	{"stock, 10 ms", false, func(dir string) handler.Locker {
		return stocklocker.FileLocker{Path: dir, HolderPollInterval: 10 * time.Millisecond, AcquirerPollInterval: 10 * time.Millisecond}
	}, time.Second},
	{"stock, default", false, func(dir string) handler.Locker { return stocklocker.New(dir) }, 6 * time.Second},
	{"no locker", false, nil, time.Second},
}

func newReadingSite(b *testing.B, size int, slow time.Duration, shared bool, locker func(dir string) handler.Locker) *readingSite {
	b.Helper()
	dir, composer := b.TempDir(), handler.NewStoreComposer()
	filestore.New(dir).UseIn(composer)
	if locker != nil {
		composer.UseLocker(locker(dir))
	}
	quiet := tuslog.New(tuslog.NewTextHandler(io.Discard, &tuslog.HandlerOptions{Level: tuslog.LevelError}))
	h, err := handler.NewHandler(handler.Config{
		StoreComposer: composer,
		BasePath:      "/files/",
		Logger:        quiet,
		// tusd keeps something of each request for so long, which would pile up here.
		GracefulRequestCompletionTimeout: time.Millisecond,
	})
	require.NoError(b, err)
	s := &readingSite{Handler: http.StripPrefix("/files/", h), data: content(1, size)}
	if slow > 0 {
		next := s.Handler
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&slowWriter{ResponseWriter: w, wait: slow}, r)
		})
	}
	if shared {
		s.Handler = filelocker.ShareReads(s.Handler)
	}
	s.id = path.Base(s.serve(b, http.MethodPost, "/files/", nil, "Upload-Length", strconv.Itoa(size)).Get("Location"))
	s.serve(b, http.MethodPatch, "/files/"+s.id, s.data, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	return s
}

// serve makes the handler serve one request without a network.
func (s *readingSite) serve(b *testing.B, method, target string, body []byte, header ...string) http.Header {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context()) // whose end tusd waits for
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	r.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	require.Less(b, w.Code, 300, "%s", w.Body)
	return w.Result().Header
}

// BenchmarkOneRead is a GET of 4 KiB without a network and with nobody else there: what the
// locker costs.
func BenchmarkOneRead(b *testing.B) {
	for _, l := range lockers {
		b.Run(l.name, func(b *testing.B) {
			s := newReadingSite(b, 4<<10, 0, l.shared, l.make)
			for b.Loop() {
				ctx, cancel := context.WithCancel(context.Background())
				r := httptest.NewRequest(http.MethodGet, "/files/"+s.id, nil).WithContext(ctx)
				w := &counter{header: make(http.Header)}
				if s.ServeHTTP(w, r); w.n != len(s.data) {
					b.Fatalf("%d bytes", w.n)
				}
				cancel()
			}
		})
	}
}

// counter is an http.ResponseWriter that counts what is written.
type counter struct {
	header http.Header
	n      int
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// slowWriter is what a handler sees of a client that takes its time.
type slowWriter struct {
	http.ResponseWriter
	wait time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.wait)
	w.wait = 0
	return w.ResponseWriter.Write(p)
}

// BenchmarkParallelReads lets many clients download one upload over and over, over connections
// that they keep. A GET that fails counts as failed and not as one of GETs/s; longest-ms is
// what the unluckiest one took.
func BenchmarkParallelReads(b *testing.B) {
	for _, load := range []struct {
		name string
		size int
		slow time.Duration
	}{{"4 KiB", 4 << 10, 0}, {"1 MiB", 1 << 20, 0}, {"4 KiB in 20 ms", 4 << 10, 20 * time.Millisecond}} {
		for _, readers := range []int{1, 8, 64} {
			for _, l := range lockers {
				b.Run(fmt.Sprintf("%s/%d readers/%s", load.name, readers, l.name), func(b *testing.B) {
					s := newReadingSite(b, load.size, load.slow, l.shared, l.make)
					server := httptest.NewServer(s)
					defer server.Close()
					benchmarkCrowd(b, newCrowd(readers, server.URL+"/files/"+s.id, load.size), l.window)
				})
			}
		}
	}
}

func benchmarkCrowd(b *testing.B, c *crowd, window time.Duration) {
	b.Helper()
	defer c.close()
	for b.Loop() {
		c.read(window)
	}
	b.ReportMetric(float64(c.done)/c.took.Seconds(), "GETs/s")
	b.ReportMetric(float64(c.longest)/float64(time.Millisecond), "longest-ms")
	b.ReportMetric(float64(c.failed)/float64(b.N), "failed")
	b.ReportMetric(0, "ns/op")
	if c.failed > 0 {
		b.Logf("for example: %v", c.failure.Load())
	}
}

// crowd is a number of clients that read the same.
type crowd struct {
	url     string
	size    int
	clients []*http.Client

	mu           sync.Mutex
	done, failed int
	failure      atomic.Value // the text of one of those
	took         time.Duration
	longest      time.Duration
}

func newCrowd(n int, url string, size int) *crowd {
	c := &crowd{url: url, size: size, clients: make([]*http.Client, n)}
	for i := range c.clients {
		c.clients[i] = &http.Client{Transport: &http.Transport{}}
	}
	return c
}

func (c *crowd) close() {
	for _, client := range c.clients {
		client.CloseIdleConnections()
	}
}

// read lets all read for that long. Who waits at the end is waited for, and counts for the
// longest time only.
func (c *crowd) read(window time.Duration) {
	start := time.Now()
	var group sync.WaitGroup
	for _, client := range c.clients {
		group.Go(func() {
			done, failed, longest := c.readOn(client, start.Add(window))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.done += done
			c.failed += failed
			c.longest = max(c.longest, longest)
		})
	}
	group.Wait()
	c.took += window
}

func (c *crowd) readOn(client *http.Client, end time.Time) (done, failed int, longest time.Duration) {
	for last := time.Now(); last.Before(end); {
		err := c.readOnce(client)
		now := time.Now()
		longest = max(longest, now.Sub(last))
		last = now
		switch {
		case err != nil:
			failed++
			c.failure.Store(err.Error())
		case now.Before(end):
			done++
		}
	}
	return done, failed, longest
}

func (c *crowd) readOnce(client *http.Client) error {
	resp, err := client.Get(c.url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n != int64(c.size) {
		err = fmt.Errorf("%d bytes", n)
	}
	return err
}
