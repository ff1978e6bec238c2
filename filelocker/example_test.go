package filelocker_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// A server that stores uploads in a directory and keeps their locks there too. In a program of
// your own, the two lines with New and UseIn are all there is to change.
func Example() {
	dir, err := os.MkdirTemp("", "uploads")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	composer := handler.NewStoreComposer()
	filestore.New(dir).UseIn(composer)
	locker := filelocker.New(dir)
	locker.UseIn(composer)
	uploads, err := handler.NewHandler(handler.Config{
		BasePath:      "/files/",
		StoreComposer: composer,
		Logger:        slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/files/", uploads))
	defer server.Close()

	const content = "hello, world"
	answer := send(server, "POST", server.URL+"/files/", "",
		"Upload-Length", fmt.Sprint(len(content)),
		"Upload-Metadata", "filename "+base64.StdEncoding.EncodeToString([]byte("hello.txt")))
	upload := answer.Header.Get("Location")
	fmt.Println("created:", answer.StatusCode)

	answer = send(server, "PATCH", upload, content[:5], "Upload-Offset", "0")
	fmt.Println("the first part:", answer.StatusCode, answer.Header.Get("Upload-Offset"))
	answer = send(server, "HEAD", upload, "")
	fmt.Println("resume at:", answer.StatusCode, answer.Header.Get("Upload-Offset"))
	answer = send(server, "PATCH", upload, content[5:], "Upload-Offset", "5")
	fmt.Println("the rest:", answer.StatusCode, answer.Header.Get("Upload-Offset"))

	entries, err := os.ReadDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("files:", len(entries)) // the upload and its information; no lock is left

	// Output:
	// created: 201
	// the first part: 204 5
	// resume at: 200 5
	// the rest: 204 12
	// files: 2
}

// send makes one request of the tus protocol.
func send(server *httptest.Server, method, url, body string, header ...string) *http.Response {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	if method == "PATCH" {
		req.Header.Set("Content-Type", "application/offset+octet-stream")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := server.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	return answer
}
