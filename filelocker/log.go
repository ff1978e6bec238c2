package filelocker

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// patience is how long a waiter waits before the log says so.
const patience = time.Second

// waitLog returns what logs a look in vain: the first, and one after a while.
func (a *acquirer) waitLog() func() {
	start, logged := time.Now(), 0
	return func() {
		switch {
		case logged == 0:
			logged = 1
			if a.logger.Enabled(context.Background(), slog.LevelDebug) {
				a.logger.Debug("waiting for a lock", a.attrs()...)
			}
		case logged == 1 && time.Since(start) >= patience:
			logged = 2
			a.logger.Info("still waiting for a lock", a.attrs()...)
		}
	}
}

// attrs describes the holder found last.
func (a *acquirer) attrs() []any {
	attrs := []any{"id", a.lock.id, "file", a.dir.pathOf(a.upload.file), "holder", a.seen.liveness.String(), "why", a.seen.why}
	if a.who != "" {
		attrs = append(attrs, "request", a.who)
	}
	if s := a.seen.stamp(); s.PID != 0 {
		attrs = append(attrs, "pid", s.PID)
		if !s.bare() {
			attrs = append(attrs, "host", s.Host, "since", s.Since, "mode", string(s.Mode))
		}
	}
	return attrs
}

// attrs describes who in this process is in w's way.
func (u *upload) attrs(w *holder) []any {
	process.mu.Lock()
	defer process.mu.Unlock()
	attrs := []any{"id", w.lock.id, "file", u.dir.pathOf(u.file), "pid", os.Getpid()}
	if w.who != "" {
		attrs = append(attrs, "request", w.who)
	}
	if u.hold == nil { // one of this process waits for another one's
		return attrs
	}
	attrs = append(attrs, "since", time.Now().Add(-u.hold.start.since()), "mode", string(modeOf(u.hold.shared)), "holders", len(u.owners))
	if who := u.owners[0].who; who != "" {
		attrs = append(attrs, "held_by", who)
	}
	return attrs
}

// logEnd logs that w does not wait for what any more.
func (w *holder) logEnd(what string, attrs []any) {
	if w.client.Err() != nil {
		w.lock.Logger.Info("client gone while waiting for "+what, attrs...)
		return
	}
	w.lock.Logger.Warn("timed out waiting for "+what, attrs...)
}
