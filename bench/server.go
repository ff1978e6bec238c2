//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"

	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

const listening = "You can now upload files to: "

// serve is the role of a server: tusd's handler and disk store with the locker of a peer, all
// else the same for all peers. It ends with its standard input.
func serve(args []string, in io.Reader, out io.Writer) error {
	peer, dir := args[0], args[1]
	composer := handler.NewStoreComposer()
	filestore.New(dir).UseIn(composer)
	if peer != noLocker {
		locker, err := newLocker(peer, dir)
		if err != nil {
			return err
		}
		composer.UseLocker(locker)
	}
	uploads, err := handler.NewHandler(handler.Config{
		StoreComposer: composer,
		BasePath:      "/files/",
		Logger:        slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	var files http.Handler = uploads
	if peer == ours { // as our server does
		files = filelocker.ShareReads(files)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.StripPrefix("/files/", files)}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = server.Close()
	}()
	fmt.Fprintf(out, "%shttp://%s/files/\n", listening, listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// startServer starts such a server and returns it and the URL of its uploads.
func (e *env) startServer(peer, dir string) (c *child, url string, err error) {
	if c, err = e.start("server", peer, dir); err != nil {
		return nil, "", err
	}
	url, err = c.line(listening)
	go c.ignore()
	return c, url, err
}

// startProgram starts the server that is shipped.
func (e *env) startProgram(exe, dir string) (string, error) {
	c, err := e.startCommand(exec.Command(exe, "-host", "127.0.0.1", "-port", "0", "-upload-dir", dir))
	if err != nil {
		return "", err
	}
	url, err := c.line(listening)
	go c.ignore()
	return url, err
}

// ignore takes what a child says, so that it is never held up, until it ends.
func (c *child) ignore() {
	for range c.lines {
	}
}

// tus is a client of one server.
type tus struct {
	url    string
	client *http.Client
}

func newTus(url string, conns int) tus {
	return tus{url, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns}}}
}

func (t tus) close() error {
	t.client.CloseIdleConnections()
	return nil
}

// do sends a request and wants a certain status. It returns the header of the answer.
func (t tus) do(ctx context.Context, method, url string, want int, body io.Reader, header ...string) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", method, err)
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s: status %d: %s", method, resp.StatusCode, text)
	}
	return resp.Header, nil
}
