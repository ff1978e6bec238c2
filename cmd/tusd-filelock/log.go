package main

import (
	"io"
	"log"
	"log/slog"

	tuslog "golang.org/x/exp/slog"
)

// The values of -log-format.
const (
	logText = "text"
	logJSON = "json"
)

// logs is one stream of records in one format. tusd and the locker use
// different slog packages, so there is a handler of each kind on that stream.
type logs struct {
	requests *tuslog.Logger
	locks    *slog.Logger
	// lines writes one message without attributes.
	lines func(message string)
	// settings does the same for what -show-startup-logs turns off.
	settings func(message string)
}

func newLogs(cfg *config, out io.Writer) logs {
	level := slog.LevelInfo
	if cfg.verbose {
		level = slog.LevelDebug
	}
	lockLevel := slog.LevelInfo
	if cfg.verboseGiven {
		lockLevel = slog.LevelDebug
	}
	l := textLogs(level, lockLevel, out)
	if cfg.logFormat == logJSON {
		l = jsonLogs(level, lockLevel, out)
	}
	l.settings = func(string) {}
	if cfg.showStartupLogs {
		l.settings = l.lines
	}
	return l
}

// textLogs is tusd's text format: a date, then level, event and attributes.
func textLogs(level, lockLevel slog.Level, out io.Writer) logs {
	lines := log.New(out, "", log.LstdFlags|log.Lmicroseconds)
	requests := tuslog.NewTextHandler(lineWriter{lines}, &tuslog.HandlerOptions{
		Level: tuslog.Level(level),
		ReplaceAttr: func(groups []string, a tuslog.Attr) tuslog.Attr {
			if a.Key = textKey(groups, a.Key); a.Key == "" {
				return tuslog.Attr{}
			}
			return a
		},
	})
	locks := slog.NewTextHandler(lineWriter{lines}, &slog.HandlerOptions{
		Level: lockLevel,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key = textKey(groups, a.Key); a.Key == "" {
				return slog.Attr{}
			}
			return a
		},
	})
	return logs{
		requests: tuslog.New(requests),
		locks:    slog.New(locks),
		lines:    func(message string) { lines.Print(message) },
	}
}

// textKey returns the key of an attribute in the text format; "" is left out,
// which is the time, because the line starts with it.
func textKey(groups []string, key string) string {
	switch {
	case len(groups) > 0:
		return key
	case key == slog.TimeKey:
		return ""
	case key == slog.MessageKey:
		return "event"
	}
	return key
}

// jsonLogs writes every record, also the plain lines, as one JSON object.
func jsonLogs(level, lockLevel slog.Level, out io.Writer) logs {
	w := lineWriter{log.New(out, "", 0)}
	requests := tuslog.New(tuslog.NewJSONHandler(w, &tuslog.HandlerOptions{Level: tuslog.Level(level)}))
	return logs{
		requests: requests,
		locks:    slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: lockLevel})),
		lines:    func(message string) { requests.Info(message) },
	}
}

// lineWriter lends a log.Logger's mutex to handlers that have one each, so that
// their lines do not mix.
type lineWriter struct {
	lines *log.Logger
}

func (w lineWriter) Write(p []byte) (int, error) {
	w.lines.Print(string(p))
	return len(p), nil
}
