package interrupt_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	tuslog "golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

// testLocker gives out locks whose Lock is a function of the test. As those of
// filelocker they interrupt the request before they tell tusd.
type testLocker func(release func())

func (l testLocker) NewLock(string) (handler.Lock, error) { return testLock{l}, nil }

type testLock struct{ lock testLocker }

func (l testLock) Lock(ctx context.Context, release func()) error {
	l.lock(func() { interrupt.From(ctx).Interrupt(handler.ErrUploadInterrupted, release) })
	return nil
}

func (l testLock) Unlock() error { return nil }

// uploadHandler returns tusd's handler on a new directory, and a created upload
// of 10 bytes in it.
func uploadHandler(t *testing.T, locker testLocker) (h http.HandlerFunc, file string) {
	t.Helper()
	dir := t.TempDir()
	store := filestore.New(dir)
	composer := handler.NewStoreComposer()
	store.UseIn(composer)
	composer.UseLocker(locker)
	uploads, err := handler.NewHandler(handler.Config{
		StoreComposer:                    composer,
		BasePath:                         "/",
		NetworkTimeout:                   time.Hour,
		AcquireLockTimeout:               time.Hour,
		GracefulRequestCompletionTimeout: time.Millisecond,
		Logger:                           tuslog.New(tuslog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, err)
	_, err = store.NewUpload(t.Context(), handler.FileInfo{ID: "id", Size: 10})
	require.NoError(t, err)
	return http.StripPrefix("/", uploads).ServeHTTP, filepath.Join(dir, "id")
}

// patch starts a PATCH whose body ends only when the returned writer is closed.
func (s *site) patch(t *testing.T) (*io.PipeWriter, <-chan answer) {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequest(http.MethodPatch, s.url+"/id", r)
	require.NoError(t, err)
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("Upload-Offset", "0")
	req.Header.Set("Content-Type", "application/offset+octet-stream")
	answers := make(chan answer, 1)
	go func() {
		res, err := s.client.Do(req)
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answers <- answer{res.StatusCode, string(body), err}
	}()
	t.Cleanup(func() { w.Close() })
	return w, answers
}

// answer is what became of a request.
type answer struct {
	status int
	body   string
	err    error
}

// requireInterrupted waits for an answer, which comes while the body is open.
func requireInterrupted(t *testing.T, answers <-chan answer) {
	t.Helper()
	a := receive(t, answers, "the upload goes on")
	require.NoError(t, a.err)
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Contains(t, a.body, "ERR_UPLOAD_INTERRUPTED")
}

func TestInterruptBeforeTheBodyIsRead(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		for name, locker := range map[string]testLocker{
			"in Lock":    func(release func()) { release() },
			"after Lock": func(release func()) { go release() },
		} {
			t.Run(name, func(t *testing.T) {
				h, _ := uploadHandler(t, locker)
				s := serve(t, protocol, h)
				for range 20 {
					body, answers := s.patch(t)
					requireInterrupted(t, answers)
					body.Close()
				}
			})
		}
	})
}

func TestInterruptWhileTheBodyStalls(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		requested := make(chan func(), 1)
		h, file := uploadHandler(t, func(release func()) { requested <- release })
		s := serve(t, protocol, h)
		body, answers := s.patch(t)
		_, err := io.WriteString(body, "half")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			info, err := os.Stat(file)
			return err == nil && info.Size() == 4
		}, hang, time.Millisecond)
		(<-requested)()
		requireInterrupted(t, answers)
		written, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "half", string(written))
	})
}

func TestInterruptTwiceInARowNotifiesOnce(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		notified := make(chan struct{}, 10)
		failed := make(chan error, 1)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			q := interrupt.From(r.Context())
			q.Interrupt(handler.ErrUploadInterrupted, func() {
				q.Interrupt(handler.ErrServerShutdown, func() { notified <- struct{}{} })
			})
			_, err := r.Body.Read(make([]byte, 1))
			failed <- err
		})
		s.patch(t)
		require.ErrorIs(t, receive(t, failed, "the read goes on"), handler.ErrUploadInterrupted)
		require.Len(t, notified, 1)
	})
}

func TestInterruptOfWhatIsNoUploadOnlyNotifies(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		notified := make(chan struct{}, 10)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			interrupt.From(r.Context()).Interrupt(handler.ErrUploadInterrupted, func() { notified <- struct{}{} })
			io.WriteString(w, "text")
		})
		_, body := s.get(t, "/")
		require.Equal(t, "text", body)
		require.Len(t, notified, 1)
	})
}

func TestInterruptionOutlivesLaterDeadlines(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		failed := make(chan error, 1)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			interrupt.From(r.Context()).Interrupt(handler.ErrUploadInterrupted, func() {})
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
			_, err := r.Body.Read(make([]byte, 1))
			failed <- err
		})
		_, answers := s.patch(t)
		require.Equal(t, answer{status: http.StatusOK}, receive(t, answers, "the upload goes on"))
		require.ErrorIs(t, <-failed, handler.ErrUploadInterrupted)
	})
}

func TestDeadlinesAfterTheEndReachNoConnection(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		controls := make(chan *http.ResponseController, 2)
		ended := make(chan struct{}, 2)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			controls <- http.NewResponseController(w)
			context.AfterFunc(r.Context(), func() { ended <- struct{}{} })
			io.Copy(w, r.Body)
		})
		// One connection for both, so that a deadline of the first could hurt the second.
		s.get(t, "/")
		receive(t, ended, "the end of the request")
		control := <-controls
		require.NoError(t, control.SetReadDeadline(time.Now()))
		require.NoError(t, control.SetWriteDeadline(time.Now()))
		res, err := s.client.Post(s.url, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "body", string(body))
	})
}

func TestTooLargeBodiesAreAnsweredAtOnce(t *testing.T) {
	h, _ := uploadHandler(t, func(func()) {})
	conn := serve(t, "HTTP/1.1", h).dial(t)
	_, err := io.WriteString(conn, "PATCH /id HTTP/1.1\r\nHost: test\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"+
		"Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, "the answer must not wait for the rest of the body")
	defer res.Body.Close()
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	require.True(t, res.Close)
}
