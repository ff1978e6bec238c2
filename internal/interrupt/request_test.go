package interrupt_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

func TestGoneWhenTheClientHangsUp(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
			t.Run(method, func(t *testing.T) {
				entered, gone := make(chan struct{}), make(chan struct{})
				s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					close(entered)
					// The context of a tus request outlives its client.
					q := interrupt.From(context.WithoutCancel(r.Context()))
					<-q.Client().Done()
					<-r.Context().Done()
					close(gone)
				})
				ctx, hangUp := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(ctx, method, s.url, nil)
				require.NoError(t, err)
				over := make(chan struct{})
				go func() {
					defer close(over)
					// Mostly an error, but the answer of a server that has noticed can be as quick.
					if resp, err := s.client.Do(req); err == nil {
						resp.Body.Close()
					}
				}()
				receive(t, entered, "the request")
				hangUp()
				receive(t, gone, "the end of the client")
				receive(t, over, "the end of the request")
			})
		}
	})
}

// What ends the request's own context does not look like a client that has gone.
func TestCancelIsNotGone(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(r.Context())
	q, w, r := interrupt.New(ctx, httptest.NewRecorder(), r)
	q.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel(cause)
		<-r.Context().Done()
		require.Equal(t, cause, context.Cause(r.Context()))
		require.NoError(t, q.Client().Err(), "the client is still there")
	}), w, r)
}

func TestFrom(t *testing.T) {
	require.Nil(t, interrupt.From(t.Context()))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	q, _, r := interrupt.New(r.Context(), httptest.NewRecorder(), r)
	require.Same(t, q, interrupt.From(r.Context()))
	require.Same(t, q, interrupt.From(context.WithoutCancel(r.Context())))
}

// tusd keeps the context of a request for 10 s after it.
func TestTheContextKeepsNothingElse(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPatch} {
		var ctx context.Context
		serve := func() (weak.Pointer[http.Request], weak.Pointer[httptest.ResponseRecorder]) {
			from, to := httptest.NewRequest(method, "/", strings.NewReader("text")), httptest.NewRecorder()
			q, w, r := interrupt.New(from.Context(), to, from)
			q.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx = context.WithoutCancel(r.Context())
				io.Copy(w, r.Body)
			}), w, r)
			return weak.Make(from), weak.Make(to)
		}
		request, answer := serve()
		require.Eventually(t, func() bool {
			runtime.GC()
			return request.Value() == nil && answer.Value() == nil
		}, hang, time.Millisecond)
		require.NotNil(t, interrupt.From(ctx))
	}
}

func TestString(t *testing.T) {
	for _, c := range []struct{ method, target, want string }{
		{"PATCH", "/files/abc", "PATCH /files/abc"},
		{"GET", "/files/a%0Ab?secret=1#x", "GET /files/a%0Ab"},
		{"GET", "http://user:secret@test/files/a%2Fb", "GET /files/a%2Fb"},
		{"HEAD", "/" + strings.Repeat("x", 300), "HEAD /" + strings.Repeat("x", 194)},
	} {
		r := httptest.NewRequest(c.method, c.target, nil)
		q, w, r := interrupt.New(r.Context(), httptest.NewRecorder(), r)
		q.Serve(http.StripPrefix("/files/", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			require.Equal(t, c.want, q.String())
		})), w, r)
		require.Empty(t, q.String())
	}
}

func TestServePassesPanicsOn(t *testing.T) {
	for name, aborts := range map[string]bool{"running": false, "aborted": true} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			q, w, r := interrupt.New(r.Context(), httptest.NewRecorder(), r)
			require.PanicsWithValue(t, "reason", func() {
				q.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					if aborts {
						q.Abort()
					}
					panic("reason")
				}), w, r)
			})
			q.Interrupt(io.EOF, func() { t.Error("the request must have ended") })
		})
	}
}

// brokenWriter fails in the worst way.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) Write([]byte) (int, error) { panic("broken") }

func TestPanicsOfWritersReachTheHandler(t *testing.T) {
	for _, major := range []int{1, 2} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.ProtoMajor = major
		q, w, r := interrupt.New(r.Context(), brokenWriter{httptest.NewRecorder()}, r)
		require.PanicsWithValue(t, "broken", func() {
			q.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "text") }), w, r)
		})
	}
}

func TestHijackedConnectionsAreLeftAlone(t *testing.T) {
	s := serve(t, "HTTP/1.1", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		interrupt.From(r.Context()).Abort()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
	})
	_, body := s.get(t, "/")
	require.Equal(t, "mine", body)
}

func TestLargeWritesArriveAsTheyAre(t *testing.T) {
	text := strings.Repeat("0123456789", 100_000)
	forProtocols(t, func(t *testing.T, protocol string) {
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			n, err := io.WriteString(w, text)
			if n != len(text) || err != nil {
				t.Error(n, err)
			}
			m, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(text))
			if m != int64(len(text)) || err != nil {
				t.Error(m, err)
			}
			if n, err := w.Write(nil); n != 0 || err != nil {
				t.Error(n, err)
			}
		})
		_, body := s.get(t, "/")
		require.True(t, text+text == body)
	})
}
