package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	tuslog "golang.org/x/exp/slog"
)

func TestLogOfRequestsAndLocksIsOneStream(t *testing.T) {
	for _, c := range []struct{ format, requests, locks string }{
		{logText, `^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} level=WARN event="went wrong" id=x`, ``},
		{logJSON, `^\{"time":"[^"]+","level":"WARN","msg":"went wrong","id":"x"`, ``},
	} {
		t.Run(c.format, func(t *testing.T) {
			cfg, err := parseFlags([]string{"-log-format", c.format})
			require.NoError(t, err)
			var out bytes.Buffer
			l := newLogs(cfg, &out)
			l.requests.Warn("went wrong", "id", "x", tuslog.Group("g", "time", 1))
			l.locks.Warn("went wrong", "id", "x", slog.Group("g", "time", 1))
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			require.Len(t, lines, 2)
			for _, line := range lines {
				require.Regexp(t, c.requests, line)
				require.Regexp(t, `g\.time=1$|"g":\{"time":1\}\}$`, line)
			}
		})
	}
}

func TestLogLevels(t *testing.T) {
	for _, c := range []struct {
		flag            string
		requests, locks slog.Level
	}{
		{"-show-greeting", slog.LevelDebug, slog.LevelInfo},
		{"-verbose", slog.LevelDebug, slog.LevelDebug},
		{"-verbose=false", slog.LevelInfo, slog.LevelInfo},
	} {
		cfg, err := parseFlags([]string{c.flag})
		require.NoError(t, err)
		l := newLogs(cfg, io.Discard)
		require.Equal(t, c.requests <= slog.LevelDebug, l.requests.Enabled(context.Background(), tuslog.LevelDebug), c.flag)
		require.Equal(t, c.locks <= slog.LevelDebug, l.locks.Enabled(context.Background(), slog.LevelDebug), c.flag)
		require.True(t, l.locks.Enabled(context.Background(), slog.LevelInfo))
	}
}
