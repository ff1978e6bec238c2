package interrupt_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/interrupt"
)

// huge is more than all buffers between a handler and its client hold.
const huge = 64 << 20

// download is a response of which the client takes nothing but the beginning.
type download struct {
	request chan *interrupt.Request
	failed  chan error // what became of the write
}

func newDownload() *download {
	return &download{make(chan *interrupt.Request, 1), make(chan error, 1)}
}

// shapes are the ways to write a response.
var shapes = map[string]func(w http.ResponseWriter, source *os.File) error{
	"length": func(w http.ResponseWriter, _ *os.File) error {
		w.Header().Set("Content-Length", strconv.Itoa(huge))
		_, err := w.Write(make([]byte, huge))
		return err
	},
	"chunked": func(w http.ResponseWriter, _ *os.File) error {
		_, err := w.Write(make([]byte, huge))
		return err
	},
	"sendfile": func(w http.ResponseWriter, source *os.File) error {
		w.Header().Set("Content-Length", strconv.Itoa(huge))
		_, err := w.(io.ReaderFrom).ReadFrom(source)
		return err
	},
	"flushed": func(w http.ResponseWriter, _ *os.File) error {
		for {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				return err
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
	},
}

// serveDownload serves one download of the given shape.
func serveDownload(t *testing.T, protocol, shape string) (*site, *download) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	require.NoError(t, os.Truncate(name, huge))
	d := newDownload()
	return serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
		source, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		defer source.Close()
		d.request <- interrupt.From(r.Context())
		d.failed <- shapes[shape](w, source)
	}), d
}

func TestAbortOfABlockedWrite(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		for shape := range shapes {
			t.Run(shape, func(t *testing.T) {
				s, d := serveDownload(t, protocol, shape)
				res, err := s.client.Get(s.url)
				require.NoError(t, err)
				defer res.Body.Close()
				_, err = io.ReadFull(res.Body, make([]byte, 100))
				require.NoError(t, err)
				receive(t, d.request, "the request").Abort()
				require.ErrorIs(t, receive(t, d.failed, "the write goes on"), http.ErrAbortHandler)
				_, err = io.Copy(io.Discard, res.Body)
				require.Error(t, err, "the client took a part for the whole")
			})
		}
	})
}

func TestAbortOfAResponseThatEndsWithItsConnection(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/1.1 TLS"} {
		for version, shape := range map[string]string{"1.0": "chunked", "1.1": "identity"} {
			t.Run(protocol+" as "+version, func(t *testing.T) {
				written, goOn := make(chan *interrupt.Request), make(chan struct{})
				s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					if shape == "identity" {
						w.Header().Set("Transfer-Encoding", "identity")
					}
					io.WriteString(w, "part")
					http.NewResponseController(w).Flush()
					written <- interrupt.From(r.Context())
					<-goOn
				})
				conn := s.dial(t)
				_, err := io.WriteString(conn, "GET / HTTP/"+version+"\r\nHost: test\r\nConnection: close\r\n\r\n")
				require.NoError(t, err)
				receive(t, written, "the beginning").Abort()
				close(goOn)
				got, err := io.ReadAll(conn)
				require.Error(t, err, "the connection ended as if this were all: %s", got)
			})
		}
	}
}

func TestAbortLeavesTheOtherStreamsAlone(t *testing.T) {
	for _, protocol := range []string{"h2", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			request, goOn := make(chan *interrupt.Request), make(chan struct{})
			addrs := make(chan string, 2)
			s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
				addrs <- r.RemoteAddr
				w.Write([]byte("half"))
				http.NewResponseController(w).Flush()
				if r.URL.Path == "/other" {
					<-goOn
					w.Write([]byte("whole"))
					return
				}
				request <- interrupt.From(r.Context())
				w.Write(make([]byte, huge))
			})
			other, err := s.client.Get(s.url + "/other")
			require.NoError(t, err)
			defer other.Body.Close()
			res, err := s.client.Get(s.url)
			require.NoError(t, err)
			defer res.Body.Close()
			require.Equal(t, <-addrs, <-addrs, "this needs a common connection")

			receive(t, request, "the request").Abort()
			_, err = io.Copy(io.Discard, res.Body)
			require.Error(t, err)
			close(goOn)
			body, err := io.ReadAll(other.Body)
			require.NoError(t, err)
			require.Equal(t, "halfwhole", string(body))
		})
	}
}

func TestAbortIsForGood(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		errs := make(chan []error, 1)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			interrupt.From(r.Context()).Abort()
			control := http.NewResponseController(w)
			for _, deadline := range []time.Time{{}, time.Now().Add(time.Hour)} {
				control.SetWriteDeadline(deadline)
				control.SetReadDeadline(deadline)
			}
			w.WriteHeader(http.StatusTeapot)
			_, written := w.Write([]byte("text"))
			_, read := w.(io.ReaderFrom).ReadFrom(bytes.NewBufferString("text"))
			_, _, hijacked := control.Hijack()
			errs <- []error{written, read, hijacked, control.Flush()}
		})
		_, err := s.client.Get(s.url)
		require.Error(t, err)
		for _, err := range receive(t, errs, "the handler") {
			require.ErrorIs(t, err, http.ErrAbortHandler)
		}
	})
}

func TestAbortBeforeTheFirstByte(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		for name, h := range map[string]http.HandlerFunc{
			"silent": func(w http.ResponseWriter, r *http.Request) { interrupt.From(r.Context()).Abort() },
			"buffered": func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "all of it")
				interrupt.From(r.Context()).Abort()
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := serve(t, protocol, h)
				_, err := s.client.Get(s.url)
				require.Error(t, err)
			})
		}
	})
}

func TestAbortAfterTheEnd(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		requests := make(chan *interrupt.Request, 1)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			requests <- interrupt.From(r.Context())
			io.WriteString(w, r.RemoteAddr)
		})
		_, first := s.get(t, "/")
		q := <-requests
		<-q.Client().Done() // closed when the server is done with the request
		q.Abort()
		q.Interrupt(io.ErrUnexpectedEOF, func() { t.Error("an ended request was interrupted") })
		_, second := s.get(t, "/")
		require.Equal(t, first, second, "the connection has suffered")
	})
}

// TestAbortAtAnyTime aborts around the writes and the end of a response. The
// client gets all of it or an error.
func TestAbortAtAnyTime(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol string) {
		const parts = 50
		requests := make(chan *interrupt.Request, 1)
		s := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			requests <- interrupt.From(r.Context())
			for range parts {
				w.Write(make([]byte, 100))
				w.(http.Flusher).Flush()
			}
		})
		whole, cut := 0, 0
		for round := range 300 {
			res, err := s.client.Get(s.url)
			require.NoError(t, err)
			q := receive(t, requests, "the request")
			first, err := io.CopyN(io.Discard, res.Body, int64(round%(parts+1))*100)
			require.NoError(t, err)
			var aborts sync.WaitGroup
			for range 3 {
				aborts.Go(q.Abort)
			}
			rest, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err == nil {
				require.EqualValues(t, parts*100, first+rest, "a part was taken for the whole")
				whole++
			} else {
				cut++
			}
			aborts.Wait()
		}
		t.Logf("whole: %d, cut: %d", whole, cut)
	})
}
