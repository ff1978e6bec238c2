//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// scale is how much is done.
type scale int

const (
	full scale = iota
	quick
	tiny // for tests: everything once
)

// env is what a measure works with. What it hands out is gone after close.
type env struct {
	scale    scale
	rounds   int    // 0: as many as each measure has
	dir      string // on the file system under test
	memDir   string // on tmpfs; empty if there is none
	progress func(string)

	closers []func() error
}

// pick returns the number for the scale.
func (e *env) pick(full, quick, tiny int) int { return [...]int{full, quick, tiny}[e.scale] }

func (e *env) lasting(full, quick, tiny time.Duration) time.Duration {
	return [...]time.Duration{full, quick, tiny}[e.scale]
}

// fileSystem is one of those that are measured, and a directory on it.
type fileSystem struct{ name, dir string }

func (e *env) fileSystems() []fileSystem {
	all := []fileSystem{{"disk", e.dir}}
	if e.memDir != "" {
		all = append(all, fileSystem{"memory", e.memDir})
	}
	return all
}

// waiting leaves out of peers, in tests, the one that takes seconds for each hand-over.
func (e *env) waiting(peers ...string) []string {
	if e.scale == tiny {
		peers = slices.DeleteFunc(peers, func(p string) bool { return p == stock })
	}
	return peers
}

// onClose has f called by close, last one first.
func (e *env) onClose(f func() error) { e.closers = append(e.closers, f) }

func (e *env) close() (err error) {
	for i := len(e.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, e.closers[i]())
	}
	e.closers = nil
	return err
}

// tempDir makes a directory on the file system under test.
func (e *env) tempDir() (string, error) { return e.tempDirIn(e.dir) }

func (e *env) tempDirIn(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		return "", err
	}
	e.onClose(func() error { return os.RemoveAll(dir) })
	return filepath.Abs(dir)
}

// start starts this program again in a role, and has it killed by close.
func (e *env) start(role string, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return e.startCommand(cmd)
}

func (e *env) startCommand(cmd *exec.Cmd) (*child, error) {
	c, err := startChild(cmd)
	if err != nil {
		return nil, err
	}
	e.onClose(c.kill)
	return c, nil
}

// startWorkers starts as many workers, see worker, and returns when all are up: what is measured beside
// their start shares the processors with it.
func (e *env) startWorkers(n int) ([]*child, error) {
	workers := make([]*child, n)
	for i := range workers {
		w, err := e.start("worker")
		if err != nil {
			return nil, err
		}
		workers[i] = w
	}
	for _, w := range workers {
		if _, err := w.do(order{Do: "usage"}); err != nil {
			return nil, err
		}
	}
	return workers, nil
}

// build makes the server's program.
func (e *env) build(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", err
	}
	e.onClose(func() error { return os.RemoveAll(dir) })
	exe := filepath.Join(dir, "tusd-filelock")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", exe, "github.com/tusd-filelock/tusd-filelock/cmd/tusd-filelock")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of the server: %w\n%s", err, out)
	}
	return exe, nil
}

// pause waits, or less if the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
