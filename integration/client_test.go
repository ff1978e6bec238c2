package integration_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// upload is one upload and what it must contain in the end. The data differs everywhere, so
// that a piece written twice, left out or written by two shows.
type upload struct {
	id      string
	data    []byte
	deleted bool
}

// answer is a server's answer to one request.
type answer struct {
	status int
	code   string // tusd's error code, such as ERR_UPLOAD_INTERRUPTED; HEAD has none
	offset int    // the header Upload-Offset, -1 if there is none
	url    string // the header Location
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s offset=%d", a.status, a.code, a.offset)
}

// content makes size bytes that follow from the seed.
func content(seed uint64, size int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// request sends one tus request on a connection of its own.
func request(ctx context.Context, method, url string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	req.Close = true
	req.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) (answer, error) {
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	a := answer{status: resp.StatusCode, offset: -1, url: resp.Header.Get("Location")}
	if code, _, ok := strings.Cut(string(text), ":"); ok && strings.HasPrefix(code, "ERR_") {
		a.code = code
	}
	if v := resp.Header.Get("Upload-Offset"); v != "" {
		a.offset, _ = strconv.Atoi(v)
	}
	return a, err
}

// head asks how far the upload has come.
func head(ctx context.Context, url string) (answer, error) {
	return request(ctx, http.MethodHead, url, nil)
}

// patch appends data at offset.
func patch(ctx context.Context, url string, offset int, data []byte) (answer, error) {
	return request(ctx, http.MethodPatch, url, bytes.NewReader(data),
		"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(offset))
}

// create makes a new upload of these data at the server whose uploads are under endpoint.
func create(t testing.TB, endpoint string, data []byte) *upload {
	t.Helper()
	u, err := tryCreate(t.Context(), endpoint, data)
	require.NoError(t, err)
	return u
}

func tryCreate(ctx context.Context, endpoint string, data []byte) (*upload, error) {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	a, err := request(ctx, http.MethodPost, endpoint, nil, "Upload-Length", strconv.Itoa(len(data)))
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusCreated {
		return nil, fmt.Errorf("POST %s: %v", endpoint, a)
	}
	return &upload{id: path.Base(a.url), data: data}, nil
}

// file is where the data are on disk.
func (u *upload) file(dir string) string { return filepath.Join(dir, u.id) }

// size is how much of the upload is on disk.
func (u *upload) size(dir string) int {
	info, err := os.Stat(u.file(dir))
	if err != nil {
		return -1
	}
	return int(info.Size())
}

// awaitSize waits until that much is on disk: only then a server surely holds the lock.
func (u *upload) awaitSize(t testing.TB, dir string, n int) {
	t.Helper()
	await(t, fmt.Sprintf("%d bytes of %s", n, u.id), func() bool { return u.size(dir) == n })
}

// finish uploads what is missing through endpoint and checks what is on disk then.
func (u *upload) finish(t testing.TB, endpoint, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a, err := head(ctx, endpoint+u.id)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status)
	require.GreaterOrEqual(t, a.offset, 0)
	a, err = patch(ctx, endpoint+u.id, a.offset, u.data[a.offset:])
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, a.status, "%v", a)
	require.Equal(t, len(u.data), a.offset)
	u.requireComplete(t, dir)
}

// requireComplete compares the file on disk with what was sent.
func (u *upload) requireComplete(t testing.TB, dir string) {
	t.Helper()
	require.Equal(t, digest(u.data), fileDigest(t, u.file(dir)), "SHA-256 of upload %s", u.id)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func fileDigest(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return digest(data)
}
