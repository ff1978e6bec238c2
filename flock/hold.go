package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// hold is the open and locked lock file, and its heartbeat once it was started.
type hold struct {
	root *os.Root
	file *os.File
	info fs.FileInfo   // which file it is
	age  time.Duration // of the last refresh when the file was taken

	ctx    context.Context // for the logger
	logger *slog.Logger    // or nil

	// A beat runs in a goroutine of the timer's. Each one that is due counts in beats, so that
	// none is left when beats.Wait returns.
	beats   sync.WaitGroup
	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	stopped bool
	lost    error // errRemoved, errReplaced, errNotRegular

	once   sync.Once
	result error // of once
}

// start starts the heartbeat. It lasts until the returned function is called, whatever
// becomes of ctx.
func (h *hold) start(ctx context.Context, logger *slog.Logger) UnlockFunc {
	h.ctx, h.logger = ctx, logger
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beats.Add(1)
	h.timer = time.AfterFunc(HeartbeatInterval-h.age, h.beat)
	return h.unlock
}

func (h *hold) beat() {
	defer h.beats.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	err := h.look()
	if h.lost != nil {
		return
	}
	// A name that cannot be looked at is no reason to let the file go stale.
	if err := errors.Join(err, control(h.file, touch)); err != nil {
		h.log(slog.LevelWarn, "lock file could not be refreshed", err)
	}
	h.beats.Add(1)
	h.timer.Reset(HeartbeatInterval)
}

// look finds out whether the name is still that of the held file. A loss is for good, even
// if the file comes back: somebody else may have had the lock while it was away.
func (h *hold) look() error {
	if h.lost != nil {
		return h.lost
	}
	_, err := named(h.root, h.info)
	if errors.Is(err, errRemoved) || errors.Is(err, errReplaced) || errors.Is(err, errNotRegular) {
		h.lost = err
		h.log(slog.LevelError, "lock was lost", err)
	}
	return err
}

func (h *hold) unlock() error {
	h.once.Do(func() {
		h.stop()
		lost := inRoot(h.root, h.look())
		if err := errors.Join(lost, inRoot(h.root, release(h.file))); err != nil {
			h.result = fmt.Errorf("%w: %w", ErrUnlockUnsuccessful, err)
		}
	})
	return h.result
}

// stop ends the heartbeat and waits for a beat that is under way.
func (h *hold) stop() {
	h.mu.Lock()
	h.stopped = true
	if h.timer.Stop() {
		h.beats.Done()
	}
	h.mu.Unlock()
	h.beats.Wait()
}

func (h *hold) log(level slog.Level, message string, err error) {
	if h.logger != nil {
		path := filepath.Join(h.root.Name(), LockFile)
		h.logger.Log(context.WithoutCancel(h.ctx), level, message, "file", path, "error", err)
	}
}
