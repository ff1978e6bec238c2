package integration_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stalled is a PATCH that has sent a part of its body and keeps its connection open, as a
// client does whose network is gone.
type stalled struct{ conn net.Conn }

// stall begins a PATCH of the upload's rest at offset and sends only the first n bytes.
func stall(t testing.TB, endpoint string, u *upload, offset, n int) *stalled {
	t.Helper()
	s, err := tryStall(endpoint, u, offset, n)
	require.NoError(t, err)
	t.Cleanup(s.abort)
	return s
}

func tryStall(endpoint string, u *upload, offset, n int) (*stalled, error) {
	target, err := url.Parse(endpoint + u.id)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", target.Host, hang)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\n"+
		"Content-Type: application/offset+octet-stream\r\nUpload-Offset: %d\r\nContent-Length: %d\r\n\r\n%s",
		target.Path, target.Host, offset, len(u.data)-offset, u.data[offset:offset+n])
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &stalled{conn}, nil
}

// send sends more of the body.
func (s *stalled) send(data []byte) error {
	_, err := s.conn.Write(data)
	return err
}

// answer waits for what the server says to the PATCH.
func (s *stalled) answer() (answer, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(hang)); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp)
}

// requireInterrupted checks that the server ended the PATCH because somebody else asked for
// the upload. A holder that was robbed does not say so.
func (s *stalled) requireInterrupted(t testing.TB) {
	t.Helper()
	a, err := s.answer()
	require.NoError(t, err)
	require.Equal(t, "ERR_UPLOAD_INTERRUPTED", a.code, "%v", a)
	require.Equal(t, http.StatusBadRequest, a.status)
}

// abort drops the connection.
func (s *stalled) abort() { s.conn.Close() }
