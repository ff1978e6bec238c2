package nfs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// result is the row of the README's table of file systems that a run has shown.
type result struct {
	Filesystem string `json:"filesystem"`
	Exclusion  string `json:"exclusion"`
	Crash      string `json:"crash"`
	Publish    string `json:"publish"`
	Result     string `json:"result"`
}

// findings is what the parts of a run have shown so far.
type findings struct {
	increments int // under the lock, by both guests
	publish    string
	subtests   int // of the suite that have passed
	parts      int // of TestNFS that have passed
}

// row is what is said of a run in which nothing failed.
func (f findings) row(version string) result {
	return result{
		Filesystem: fmt.Sprintf("NFSv%s (nfs-ganesha), two machines", version),
		Exclusion:  "yes",
		Crash:      "at once on the same machine, after 30 s without a heartbeat on the other",
		Publish:    f.publish,
		Result:     fmt.Sprintf("%d subtests, %d increments", f.subtests, f.increments),
	}
}

func (r result) write(t testing.TB, file string) {
	t.Helper()
	b, err := json.MarshalIndent(r, "", "\t")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	require.NoError(t, os.WriteFile(file, append(b, '\n'), 0o666))
}

// passedIn counts the subtests of the suite that have passed, in the output of a verbose run.
func passedIn(output string) (n int) {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "    --- PASS: TestSuiteInGuest/") {
			n++
		}
	}
	return n
}

// versionOf is the protocol version in mount options.
func versionOf(options string) string {
	for option := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(option, "vers="); ok {
			return v
		}
	}
	return "4"
}
