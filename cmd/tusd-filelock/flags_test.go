package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// typeOf is the name that the help gives to a flag's kind of value.
func typeOf(f *flag.Flag) string {
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return "bool"
	}
	name, _ := flag.UnquoteUsage(f)
	return name
}

func TestFlagsAreThoseOfTusd(t *testing.T) {
	ours := map[string]string{
		"filelock-holder-poll-interval":   filelocker.DefaultHolderPollInterval.String(),
		"filelock-acquirer-poll-interval": filelocker.DefaultAcquirerPollInterval.String(),
	}
	added := []string{"File storage option | share-reads | bool | true"}
	golden, err := os.ReadFile("testdata/tusd-flags.txt")
	require.NoError(t, err)
	want, groups := added, []string(nil)
	for line := range strings.Lines(string(golden)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		field := strings.Split(strings.TrimRight(line, "\n"), " | ")
		require.Len(t, field, 4, line)
		if d, ok := ours[field[1]]; ok {
			field[3] = d
		}
		if len(groups) == 0 || groups[len(groups)-1] != field[0] {
			groups = append(groups, field[0])
		}
		want = append(want, strings.Join(field, " | "))
	}

	var got, gotGroups []string
	for _, g := range new(config).groups() {
		gotGroups = append(gotGroups, g.name)
		g.flags.VisitAll(func(f *flag.Flag) {
			require.NotEmpty(t, f.Usage)
			got = append(got, fmt.Sprintf("%s | %s | %s | %s", g.name, f.Name, typeOf(f), f.DefValue))
		})
	}
	require.ElementsMatch(t, want, got)
	require.Equal(t, groups, gotGroups)
}

func TestUsageErrorsAreOneLineAndTouchNothing(t *testing.T) {
	t.Setenv("TUSD_PPROF_AUTH", "no-colon")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-nope"}, "-nope"},
		{[]string{"-two\nlines"}, `-two\nlines`},
		{[]string{"-host"}, "-host"},
		{[]string{"extra"}, `"extra"`},
		{[]string{"-verbose=perhaps"}, "-verbose"},
		{[]string{"-share-reads=some"}, "-share-reads"},
		{[]string{"-max-size", "big"}, "-max-size"},
		{[]string{"-network-timeout", "60"}, "-network-timeout"},
		{[]string{"-network-timeout", "-1s"}, "-network-timeout"},
		{[]string{"-hooks-http-retry", "-1"}, "-hooks-http-retry"},
		{[]string{"-dir-perms", "888"}, "-dir-perms"},
		{[]string{"-file-perms", "rw"}, "-file-perms"},
		{[]string{"-port", "65536"}, "-port"},
		{[]string{"-port", ""}, "-port"},
		{[]string{"-port", "no-such-service"}, "-port"},
		{[]string{"-base-path", "/{id}/"}, "-base-path"},
		{[]string{"-base-path", "%zz"}, "-base-path"},
		{[]string{"-metrics-path", "metrics"}, "-metrics-path"},
		{[]string{"-metrics-path", "/files"}, "-metrics-path"},
		{[]string{"-metrics-path", "/"}, "-metrics-path"},
		{[]string{"-expose-pprof", "-pprof-path", "/files/"}, "-pprof-path"},
		{[]string{"-expose-pprof"}, "TUSD_PPROF_AUTH"},
		{[]string{"-cors-allow-origin", "("}, "-cors-allow-origin"},
		{[]string{"-cors-max-age", "1d"}, "-cors-max-age"},
		{[]string{"-log-format", "xml"}, "-log-format"},
		{[]string{"-tls-mode", "ssl3"}, "-tls-mode"},
		{[]string{"-tls-certificate", "cert.pem"}, "-tls-key"},
		{[]string{"-tls-key", "key.pem"}, "-tls-certificate"},
		{[]string{"-enable-h2c", "-tls-certificate", "c", "-tls-key", "k"}, "-enable-h2c"},
		{[]string{"-hooks-enabled-events", "pre-create,pre-lunch"}, `"pre-lunch"`},
		{[]string{"-hooks-dir", "d", "-hooks-http", "http://localhost"}, "-hooks-dir and -hooks-http"},
		{[]string{"-hooks-grpc", "g", "-hooks-plugin", "p"}, "-hooks-grpc and -hooks-plugin"},
		{[]string{"-hooks-http", "localhost:9000"}, "-hooks-http"},
		{[]string{"-hooks-grpc", "g", "-hooks-grpc-secure"}, "-hooks-grpc-server-tls-certificate"},
		{[]string{"-hooks-grpc-client-tls-key", "k"}, "-hooks-grpc-client-tls-certificate"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "uploads")
			var out, complaint bytes.Buffer
			require.Equal(t, exitUsage, run(append([]string{"-upload-dir", dir}, c.args...), stdio{&out, &complaint}, nil))
			require.Empty(t, out.String())
			require.Regexp(t, `^tusd-filelock: [^\n]+ \(-help lists the flags\)\n$`, complaint.String())
			require.Contains(t, complaint.String(), c.says)
			require.NoDirExists(t, dir)
		})
	}
}

func TestCompletedFlags(t *testing.T) {
	cfg, err := parseFlags([]string{"-hooks-enabled-events", "", "-base-path", "http://example.org/up", "-dir-perms", "2750"})
	require.NoError(t, err)
	require.Len(t, cfg.hooks.enabled, 7)
	require.Equal(t, "/up/", cfg.uploadPath())
	require.Equal(t, os.FileMode(0o750), cfg.dirPerms.mode())
	require.False(t, cfg.verboseGiven)
	require.True(t, cfg.shareReads)

	cfg, err = parseFlags([]string{"-hooks-enabled-events", "post-finish, pre-create", "-verbose", "-host", "[::1]", "-share-reads=false"})
	require.NoError(t, err)
	require.EqualValues(t, []string{"post-finish", "pre-create"}, []string{string(cfg.hooks.enabled[0]), string(cfg.hooks.enabled[1])})
	require.True(t, cfg.verboseGiven)
	require.False(t, cfg.shareReads)
	require.Equal(t, "[::1]:8080", address(cfg))
}
