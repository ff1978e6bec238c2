package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	tuslog "golang.org/x/exp/slog"
)

// protocols are the ways in which a request can reach a handler.
var protocols = []string{"HTTP/1.1", "h2", "h2c"}

// serveProtocol serves h and returns its URL and a client for it.
func serveProtocol(t *testing.T, protocol string, h http.Handler) (string, *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	switch protocol {
	case "HTTP/1.1":
		transport.Protocols.SetHTTP1(true)
		server.Start()
	case "h2":
		transport.Protocols.SetHTTP2(true)
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
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
	return server.URL, &http.Client{Transport: transport, Timeout: hang}
}

// testLocker gives out locks whose Lock is a function of the test.
type testLocker func(ctx context.Context, release func()) error

func (l testLocker) NewLock(string) (handler.Lock, error) { return testLock{l}, nil }

type testLock struct {
	lock testLocker
}

func (l testLock) Lock(ctx context.Context, release func()) error { return l.lock(ctx, release) }
func (l testLock) Unlock() error                                  { return nil }

// uploadHandler returns tusd's handler on a new directory, its requests being
// tracked, and a created upload of 10 bytes in it.
func uploadHandler(t *testing.T, locker testLocker) (set *requests, h http.Handler, file string) {
	t.Helper()
	dir := t.TempDir()
	store := filestore.New(dir)
	composer := handler.NewStoreComposer()
	store.UseIn(composer)
	set = newRequests()
	composer.UseLocker(set.locker(locker))
	uploads, err := handler.NewHandler(handler.Config{
		StoreComposer:                    composer,
		BasePath:                         "/",
		NetworkTimeout:                   time.Hour,
		AcquireLockTimeout:               time.Hour,
		GracefulRequestCompletionTimeout: time.Hour,
		Logger:                           tuslog.New(tuslog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, err)
	_, err = store.NewUpload(t.Context(), handler.FileInfo{ID: "id", Size: 10})
	require.NoError(t, err)
	return set, set.track(http.StripPrefix("/", uploads)), filepath.Join(dir, "id")
}

// patch starts a PATCH whose body ends only when the returned writer is closed.
func patch(t *testing.T, client *http.Client, url string) (*io.PipeWriter, <-chan *http.Response) {
	t.Helper()
	r, w := io.Pipe()
	answer := make(chan *http.Response, 1)
	go func() {
		answer <- do(t, client, http.MethodPatch, url+"/id", r, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	}()
	t.Cleanup(func() { w.Close() })
	return w, answer
}

// requireInterrupted waits for an answer, which comes while the body is open.
func requireInterrupted(t *testing.T, answer <-chan *http.Response, status int, says string) {
	t.Helper()
	select {
	case res := <-answer:
		require.Equal(t, status, res.StatusCode)
		require.Contains(t, bodyOf(t, res), says)
	case <-time.After(hang):
		require.FailNow(t, "the upload was not interrupted")
	}
}

func TestStopEndsWaitingForALock(t *testing.T) {
	waiting, giveUp := make(chan struct{}), make(chan struct{})
	set, h, _ := uploadHandler(t, func(ctx context.Context, _ func()) error {
		close(waiting)
		select {
		case <-ctx.Done():
		case <-giveUp:
		}
		return handler.ErrLockTimeout
	})
	url, client := serveProtocol(t, "HTTP/1.1", h)
	t.Cleanup(func() { close(giveUp) })
	answer := make(chan *http.Response, 1)
	go func() { answer <- do(t, client, http.MethodDelete, url+"/id", nil) }()
	<-waiting
	set.stopAll()
	requireInterrupted(t, answer, http.StatusServiceUnavailable, "ERR_SERVER_SHUTDOWN")
	require.NoError(t, set.wait(t.Context()))
}

func TestStopReachesRequestsOfAllAges(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			locked, goOn := make(chan struct{}), make(chan struct{})
			set, h, file := uploadHandler(t, func(context.Context, func()) error {
				close(locked)
				<-goOn
				return nil
			})
			url, client := serveProtocol(t, protocol, h)

			// This one has its lock when the stop comes, but not yet a body reader.
			_, answer := patch(t, client, url)
			<-locked
			set.stopAll()
			close(goOn)
			requireInterrupted(t, answer, http.StatusServiceUnavailable, "ERR_SERVER_SHUTDOWN")

			// And this one comes after it.
			_, answer = patch(t, client, url)
			requireInterrupted(t, answer, http.StatusServiceUnavailable, "ERR_SERVER_SHUTDOWN")
			require.Empty(t, readFile(t, file))
			require.NoError(t, set.wait(t.Context()))
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

func waitForSize(t *testing.T, name string, size int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := os.Stat(name)
		return err == nil && info.Size() == size
	}, hang, time.Millisecond)
}
