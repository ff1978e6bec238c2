package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDownloadsShareTheirUpload(t *testing.T) {
	s := start(t)
	url, answer := s.startDownload()
	require.Equal(t, http.StatusPartialContent, s.do(http.MethodGet, url, nil, "Range", "bytes=10-19").StatusCode)
	require.Equal(t, http.StatusOK, s.do(http.MethodHead, url, nil).StatusCode)

	require.Equal(t, http.StatusNoContent, s.do(http.MethodDelete, url, nil).StatusCode)
	_, err := io.Copy(io.Discard, answer.Body)
	require.Error(t, err, "the download must not look complete")
	require.Equal(t, exitOK, s.stop())
	s.requireNoLocks()
}

func TestDownloadsTakeTheirUploadAlone(t *testing.T) {
	s := start(t, "-share-reads=false", "-acquire-lock-timeout", "10ms", "-shutdown-timeout", "10ms")
	url, _ := s.startDownload()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
		require.Equal(t, http.StatusInternalServerError, s.do(method, url, nil, "Range", "bytes=10-19").StatusCode, method)
	}
	require.Equal(t, exitFailure, s.stop())
	s.requireNoLocks()
}

func TestShutdownLetsDownloadsGoOn(t *testing.T) {
	s := start(t, "-shutdown-timeout", "1h")
	_, answer := s.startDownload()
	s.signals <- os.Interrupt
	s.out.find(t, "shutting down")
	n, err := io.Copy(io.Discard, answer.Body)
	require.NoError(t, err)
	require.EqualValues(t, downloadSize-1000, n)
	require.Equal(t, exitOK, s.wait())
	s.requireNoLocks()
}

// downloadSize is more than all buffers hold.
const downloadSize = 256 << 20

// startDownload makes an upload and a GET of it whose client has taken the
// first 1000 bytes of the answer and no more.
func (s *testServer) startDownload() (url string, answer *http.Response) {
	s.t.Helper()
	url, file := s.create(strconv.Itoa(downloadSize))
	require.NoError(s.t, os.Truncate(file, downloadSize))
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := net.Dial("tcp", host)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "GET /"+path+" HTTP/1.1\r\nHost: test\r\n\r\n")
	require.NoError(s.t, err)
	answer, err = http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(s.t, err)
	require.EqualValues(s.t, downloadSize, answer.ContentLength)
	_, err = io.ReadFull(answer.Body, make([]byte, 1000))
	require.NoError(s.t, err)
	return url, answer
}
