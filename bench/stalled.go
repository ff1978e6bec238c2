//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Where the client of a stalled upload comes back.
const (
	sameServer  = "one server"
	otherServer = "two servers"
)

// stalled measures what a client waits for whose connection has died half way through a PATCH
// that the server still waits for: HEAD, and then the PATCH of the rest.
func stalled() measure {
	return measure{
		name:   "stalled-patch",
		title:  "stalled PATCH, resume, over HTTP",
		rounds: 150,
		show:   []string{"HEAD", "HEAD and PATCH"},
		targets: []target{
			under("one server: p50 of HEAD under 3 ms", ns, 3e6, "HEAD", p50, sameServer),
			under("two servers: p50 of HEAD under 6 ms", ns, 6e6, "HEAD", p50, otherServer),
			under("p99 of HEAD under 25 ms", ns, 25e6, "HEAD", p99),
			under("one server: p50 of HEAD and PATCH under 3 ms", ns, 3e6, "HEAD and PATCH", p50, sameServer),
			under("two servers: p50 of HEAD and PATCH under 6 ms", ns, 6e6, "HEAD and PATCH", p50, otherServer),
			under("p99 of HEAD and PATCH under 25 ms", ns, 25e6, "HEAD and PATCH", p99),
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			exe, err := e.build(ctx)
			if err != nil {
				return nil, err
			}
			var peers []peer
			for _, at := range []string{sameServer, otherServer} {
				for _, name := range e.waiting(ours, stock) {
					dir, err := e.tempDir()
					if err != nil {
						return nil, err
					}
					p, err := stallPeer(e, exe, name, at, dir, at == otherServer)
					if err != nil {
						return nil, err
					}
					peers = append(peers, p)
				}
			}
			return peers, nil
		},
	}
}

// stallPeer is our program, or stock tusd put together from its own packages.
func stallPeer(e *env, exe, name, at, dir string, two bool) (peer, error) {
	start := func() (string, error) {
		if name == ours {
			return e.startProgram(exe, dir)
		}
		_, url, err := e.startServer(name, dir)
		return url, err
	}
	from, err := start()
	if err != nil {
		return peer{}, err
	}
	to := from
	if two {
		if to, err = start(); err != nil {
			return peer{}, err
		}
	}
	r := resumer{dir: dir, uploads: 1, stalledFor: 20 * time.Millisecond, from: newTus(from, 64), to: newTus(to, 64)}
	e.onClose(r.from.close)
	e.onClose(r.to.close)
	p := peer{name: name, at: at}
	if name == stock {
		p.rounds = 1
		r.uploads = e.pick(32, 16, 1)
		r.stalledFor = e.lasting(stockHolderPoll, stockHolderPoll, 0)
	}
	p.round = r.round
	return p, nil
}

// resumer has uploads stall at one server and go on at another, or the same one.
type resumer struct {
	dir        string
	from, to   tus
	uploads    int
	stalledFor time.Duration // a random part of it
}

func (r resumer) round(ctx context.Context, s *series) error {
	type answer struct {
		id         string
		head, both time.Duration
		err        error
	}
	answers := make([]answer, r.uploads)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() { answers[i].id, answers[i].head, answers[i].both, answers[i].err = r.resume(ctx) })
	}
	group.Wait()
	for _, a := range answers {
		if a.err != nil {
			return a.err
		}
		s.took("HEAD", a.head)
		s.took("HEAD and PATCH", a.both)
		if err := removeUpload(filepath.Join(r.dir, a.id)); err != nil {
			return err
		}
	}
	return nil
}

func removeUpload(data string) error { return errors.Join(os.Remove(data), os.Remove(data+".info")) }

func (r resumer) resume(ctx context.Context) (id string, head, both time.Duration, err error) {
	data := bytes.Repeat([]byte("x"), 2*smallPart)
	h, err := r.from.do(ctx, http.MethodPost, r.from.url, http.StatusCreated, nil, "Upload-Length", strconv.Itoa(len(data)))
	if err != nil {
		return "", 0, 0, err
	}
	there := h.Get("Location")
	id = filepath.Base(there)
	conn, err := stall(ctx, there, data)
	if err != nil {
		return "", 0, 0, err
	}
	defer conn.Close()
	if err := awaitSize(ctx, filepath.Join(r.dir, id), smallPart); err != nil {
		return "", 0, 0, err
	}
	if err := pause(ctx, rand.N(r.stalledFor+1)); err != nil {
		return "", 0, 0, err
	}
	start := time.Now()
	h, err = r.to.do(ctx, http.MethodHead, r.to.url+id, http.StatusOK, nil)
	if err != nil {
		return "", 0, 0, err
	}
	head = time.Since(start)
	if got := h.Get("Upload-Offset"); got != strconv.Itoa(smallPart) {
		return "", 0, 0, fmt.Errorf("HEAD: offset %s", got)
	}
	_, err = r.to.do(ctx, http.MethodPatch, r.to.url+id, http.StatusNoContent, bytes.NewReader(data[smallPart:]),
		"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(smallPart))
	return id, head, time.Since(start), err
}

// stall begins a PATCH and sends the first half of its body. The connection stays open, as
// that of a client does whose network is gone.
func stall(ctx context.Context, upload string, data []byte) (net.Conn, error) {
	target, err := url.Parse(upload)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target.Host)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\n"+
		"Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\nContent-Length: %d\r\n\r\n%s",
		target.Path, target.Host, len(data), data[:smallPart])
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// awaitSize waits until that much is on disk: from then on the server surely has the lock.
func awaitSize(ctx context.Context, file string, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		info, err := os.Stat(file)
		if err == nil && info.Size() == size {
			return nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("wait for %d bytes of a stalled upload: %w", size, err)
		}
	}
}
