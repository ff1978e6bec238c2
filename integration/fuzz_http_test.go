package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// How a client of FuzzHTTP ends: with a last request that has the connection closed, by closing
// its side, by a reset, or by standing still in the middle until the other client is through.
const (
	endsPolitely = iota
	endsHalf
	endsReset
	endsLate
	endings
)

// FuzzHTTP has two clients at a time send what comes, byte for byte, to tusd's handler with
// this locker and ShareReads: any number of requests each, whole or cut off. The input holds
// what the first one sends, what the second one sends, and how they end (how%4, how/4%4).
// The names of the uploads that are there are hostile, too.
//
// Whatever comes:
//   - the connections end, and no handler panics;
//   - no answer is a failure of the server but those that tusd documents: the lock cannot be had
//     in time, the client sends nothing for too long, the connection was reset, and, with
//     tusd's own words for it, net/http cannot read the body;
//   - two hold a lock only if both read;
//   - the handlers have returned: no file of a lock is left, and the locks can be had;
//   - no upload is longer than it may be, as when two append at once, or has lost what it had;
//   - an upload that was not named, a file that only looks like a lock by its name, and all that is outside of the upload directory, is as it was.
//
// It needs no server of its own; with -server=none none is built for each of the workers.
func FuzzHTTP(f *testing.F) {
	for _, seed := range httpSeeds() {
		f.Add([]byte(seed.first), []byte(seed.second), seed.how)
	}
	s := serveFuzzed(f)
	f.Fuzz(func(t *testing.T, first, second []byte, how uint8) {
		s.plant(t)
		before := s.outside(t)
		s.converse(t, first, second, how)
		wrong := s.wrong()
		require.Empty(t, wrong, "%q, %q, %d", first, second, how)
		require.Empty(t, s.locks(t), "files of locks are left by %q, %q, %d", first, second, how)
		require.Equal(t, before, s.outside(t), "files outside of the directory: %q, %q, %d", first, second, how)
		s.mustBeWhole(t)
		for _, id := range []string{"a", "folder/b", s.unnamed} {
			s.mustLock(t, id)
		}
	})
}

// httpSeed is an input of FuzzHTTP.
type httpSeed struct {
	first, second string
	how           uint8
}

const offset = "Content-Type: application/offset+octet-stream\nUpload-Offset: 3"

// tus is a request as a client of tus sends it.
func tus(method, target, header, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n", method, target)
	for line := range strings.Lines(header) {
		fmt.Fprintf(&b, "%s\r\n", strings.TrimRight(line, "\n"))
	}
	if body != "" && !strings.Contains(header, "Transfer-Encoding") && !strings.Contains(header, "Content-Length") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// httpSeeds are requests of which each one once, and pairs of them at a time.
func httpSeeds() (seeds []httpSeed) {
	const override = "X-HTTP-Method-Override: "
	append6 := tus("PATCH", "/files/a", offset, "append")
	for _, r := range []string{
		tus("POST", "/files/", "Upload-Length: 5\nContent-Type: application/offset+octet-stream", "hello"),
		tus("POST", "/files/", "Upload-Defer-Length: 1\nUpload-Metadata: filename Li4vLi4veA==\nContent-Length: 0", ""),
		tus("POST", "/files/", "Upload-Concat: final;/files/a /files/folder/b\nContent-Length: 0", ""),
		tus("POST", "/files/", "Upload-Concat: final;/files/../outside /files/%2e%2e/outside\nContent-Length: 0", ""),
		tus("PATCH", "/files/folder/b", offset+"\nUpload-Length: 9", "h"),
		tus("POST", "/files/a", override+"PATCH\n"+offset, "append"),
		tus("POST", "/files/a", override+"DELETE\nContent-Length: 0", ""),
		tus("GET", "/files/a", override+"DELETE", ""), tus("POST", "/files/a", override+"GET\nContent-Length: 0", ""),
		tus("OPTIONS", "/files/a", "Access-Control-Request-Method: PATCH\nOrigin: http://x", ""), tus("OPTIONS", "*", "", ""),
		tus("FROB", "/files/a", "", ""), tus("GET", "http://elsewhere/files/a", "", ""), tus("GET", "/files/a?x#y", "Range: bytes=1-2", ""),
		"GET /files/a HTTP/1.0\r\n\r\n", "HEAD /files/a HTTP/1.0\r\nTus-Resumable: 1.0.0\r\nConnection: keep-alive\r\n\r\n", "GET /files/a\r\n\r\n",
		"GET /files/a HTTP/2.0\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		tus("GET", "/files/a", "", "") + append6 + tus("HEAD", "/files/a", "", "") + tus("DELETE", "/files/a", "", ""), // pipelined
		tus("PATCH", "/files/a", offset+"\nTransfer-Encoding: chunked", "3\r\napp\r\n0\r\n\r\n") + tus("HEAD", "/files/a", "", ""),
		tus("PATCH", "/files/a", offset+"\nTransfer-Encoding: chunked", "ffffffffffffffff\r\nx"),
		tus("PATCH", "/files/a", offset+"\nTransfer-Encoding: chunked\nContent-Length: 3", "3\r\napp\r\n0\r\n\r\n"),
		tus("PATCH", "/files/a", offset+"\nTransfer-Encoding: chunked", "*\xb7"), tus("PATCH", "/files/a", offset+"\nTransfer-Encoding: chunked", "3;"+strings.Repeat("x", 5000)),
		tus("PATCH", "/files/a", offset+"\nTransfer-Encoding: gzip, chunked", "0\r\n\r\n"),
		tus("PATCH", "/files/a", offset+"\nContent-Length: 3\nContent-Length: 4", "append"), tus("PATCH", "/files/a", offset+"\nContent-Length: -1", "append"),
		tus("PATCH", "/files/a", offset+"\nContent-Length: 9223372036854775807", "append"),
		tus("PATCH", "/files/a", offset+"\nExpect: 100-continue", "append"), tus("PATCH", "/files/a", offset+"\nUpload-Offset: 4", "append"),
		tus("PATCH", "/files/a", strings.Replace(offset, "3", "-3", 1), "append"), tus("PATCH", "/files/a", strings.Replace(offset, "3", "99999999999999999999", 1), "append"),
	} {
		for how := range uint8(endings) {
			seeds = append(seeds, httpSeed{r, "", how})
		}
	}
	for _, path := range []string{
		"a", "a.info", "a.lock", "a.stop", "x.lock", "b.stop", "x", "y", "b", ".lock-clock", "../outside", "..%2Foutside", "%2e%2e%2foutside", "folder%2F..%2F..%2Foutside",
		"/outside", "%2Fetc%2Fpasswd", "a%00", "a%00.lock", strings.Repeat("x", 250), strings.Repeat("x", 260), strings.Repeat("x/", 300), strings.Repeat("x", 5000),
		"a/b", "folder", "folder/", "folder/b", "folder//b", "folder/./b", "./a", ".", "..", "%2e", "%2F", "%", "%C3%28", `..\outside`, "a b", "a;b", "c:a", "con", "%0a", "~",
	} {
		get, remove := tus("GET", "/files/"+path, "", ""), tus("DELETE", "/files/"+path, "", "")
		seeds = append(seeds, httpSeed{get, tus("PATCH", "/files/"+path, offset, "append"), 0}, httpSeed{tus("HEAD", "/files/"+path, "", "") + remove, get, 0})
	}
	for how := range uint8(endings * endings) { // of those who want the same lock
		seeds = append(seeds, httpSeed{append6, append6, how}, httpSeed{append6, tus("HEAD", "/files/a", "", ""), how},
			httpSeed{tus("GET", "/files/a", "", ""), tus("DELETE", "/files/a", "", ""), how})
	}
	return seeds
}
