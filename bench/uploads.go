//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// uploads measures whole uploads through an HTTP server, a thousand at once: POST, four PATCHes
// and a HEAD between each two. The server is the same with each locker. With small parts it has little
// to do but to lock; with large ones, to store what comes.
func uploads() measure {
	return uploadsOf("uploads-at-once", "1,000 uploads at once over HTTP, in parts of 16 KiB", smallPart)
}

func largeUploads() measure {
	return uploadsOf("large-uploads-at-once", "1,000 uploads at once over HTTP, in parts of 1 MiB", largePart)
}

func uploadsOf(name, title string, partSize int) measure {
	return measure{
		name:   name,
		title:  title,
		rounds: 12,
		show:   []string{"throughput", "CPU time of the server per upload", "errors"},
		targets: []target{
			throughput("disk"),
			throughput("memory"),
			under("no error", count, 0, "errors", most),
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			var peers []peer
			for _, fs := range e.fileSystems() {
				for _, name := range []string{ours, memory, stock, noLocker, floor} {
					dir, err := e.tempDirIn(fs.dir)
					if err != nil {
						return nil, err
					}
					p, err := uploadPeer(e, name, fs.name, dir, partSize)
					if err != nil {
						return nil, err
					}
					peers = append(peers, p)
				}
				// Who is the first to write so much waits for the disk to make room: a file behind a loop device may have holes.
				e.progress(name + ": once for nothing, " + fs.name)
				if err := peers[len(peers)-1].round(ctx, new(series)); err != nil {
					return nil, err
				}
			}
			return peers, nil
		},
	}
}

func throughput(at string) target {
	return target{
		text: "throughput at least 97 % of memorylocker's, " + at, unit: ratio, limit: 0.97, atLeast: true,
		figure: func(o *outcome) (float64, bool) { return quotient(o, "throughput", p50, memory, at, at) },
	}
}

func uploadPeer(e *env, name, at, dir string, partSize int) (peer, error) {
	server, url, err := e.startServer(name, dir)
	if err != nil {
		return peer{}, err
	}
	n := e.pick(1000, 1000, 20)
	t := newTus(url, n)
	e.onClose(t.close)
	return peer{
		name:   name,
		at:     at,
		budget: e.lasting(40*time.Second, 5*time.Second, time.Second),
		round: func(ctx context.Context, s *series) error {
			before, err := cpuTimeOf(server.pid())
			if err != nil {
				return err
			}
			if err := t.uploadMany(ctx, dir, n, partSize, s); err != nil {
				return err
			}
			after, err := cpuTimeOf(server.pid())
			s.add("CPU time of the server per upload", ns, float64(after-before)/float64(n))
			return err
		},
	}, nil
}

// parts is of how many an upload has; smallPart and largePart are their sizes.
const (
	parts     = 4
	smallPart = 16 << 10
	largePart = 1 << 20
)

func (t tus) uploadMany(ctx context.Context, dir string, n, partSize int, s *series) error {
	part := make([]byte, partSize)
	errs := make([]error, n)
	start := time.Now()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = t.upload(ctx, part) })
	}
	group.Wait()
	took := time.Since(start)
	failed := 0.0
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	s.add("throughput", perSec, (float64(n)-failed)/took.Seconds())
	s.add("errors", count, failed)
	if failed == float64(n) {
		return fmt.Errorf("all uploads failed: %w", errors.Join(errs[0], errs[n-1]))
	}
	return empty(dir)
}

// upload makes one upload in parts.
func (t tus) upload(ctx context.Context, part []byte) error {
	h, err := t.do(ctx, http.MethodPost, t.url, http.StatusCreated, nil, "Upload-Length", strconv.Itoa(parts*len(part)))
	if err != nil {
		return err
	}
	url := h.Get("Location")
	for i := range parts {
		at := strconv.Itoa(i * len(part))
		if i > 0 {
			h, err := t.do(ctx, http.MethodHead, url, http.StatusOK, nil)
			if err != nil {
				return err
			}
			if got := h.Get("Upload-Offset"); got != at {
				return fmt.Errorf("HEAD: offset %s, not %s", got, at)
			}
		}
		_, err := t.do(ctx, http.MethodPatch, url, http.StatusNoContent, bytes.NewReader(part),
			"Content-Type", "application/offset+octet-stream", "Upload-Offset", at)
		if err != nil {
			return err
		}
	}
	return nil
}

// empty removes all files in a directory but those of locks, which may be in use, and of other uploads.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".lock" || strings.HasPrefix(entry.Name(), others) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
