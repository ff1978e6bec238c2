package integration_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// tus-js-client does what applications do with it, without a single retry, against two
// servers on one directory.
func TestNodeClient(t *testing.T) {
	client := installNodeClient(t)
	data := content(1, 8<<20+12345)
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, data, 0o600))

	for scenario, pauses := range map[string]int{
		"upload": 0, "pause": 3, "takeover": 1, "parallel": 0, "terminate": 0, "concatenation": 0, "deferred": 0,
	} {
		t.Run(scenario, func(t *testing.T) {
			dir := t.TempDir()
			a, b := startServer(t, dir), startServer(t, dir)
			said := runNode(t, client, scenario, a.url, b.url, file, dir)
			t.Logf("paused at %v", said.Pauses)
			require.Len(t, said.Pauses, pauses)
			for _, offset := range said.Pauses {
				require.Positive(t, offset, "paused before the start")
				require.Less(t, offset, len(data), "paused after the end")
			}
			if said.URL == "" {
				requireClean(t, dir)
				return
			}
			u := &upload{id: path.Base(said.URL), data: data}
			u.requireComplete(t, dir)
			requireNoLocks(t, dir)
		})
	}
}

// nodeResult is what client.mjs prints.
type nodeResult struct {
	URL    string
	Pauses []int
}

func runNode(t *testing.T, client string, argv ...string) nodeResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{client}, argv...)...)
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		t.Fatalf("node: %v\n%s", err, exit.Stderr)
	}
	require.NoError(t, err)
	var r nodeResult
	require.NoError(t, json.Unmarshal(out, &r))
	return r
}

// installNodeClient installs what node/package-lock.json pins and returns client.mjs there.
func installNodeClient(t *testing.T) string {
	t.Helper()
	_, err := exec.LookPath("node")
	need(t, "node", err == nil)
	_, err = exec.LookPath("npm")
	need(t, "npm", err == nil)

	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("node")))
	ctx, cancel := context.WithTimeout(t.Context(), 5*hang)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		need(t, "the npm packages: "+string(out), false)
	}
	return filepath.Join(dir, "client.mjs")
}

// The lock file pins contents, not places: no registry's address is in it.
func TestNodeLockfileNamesNoAddress(t *testing.T) {
	data, err := os.ReadFile("node/package-lock.json")
	require.NoError(t, err)
	require.NotContains(t, string(data), `"resolved"`)
	require.NotContains(t, string(data), "registry")
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	require.NoError(t, json.Unmarshal(data, &lock))
	require.Contains(t, lock.Packages, "node_modules/tus-js-client")
	for name, p := range lock.Packages {
		if name != "" {
			require.NotEmpty(t, p.Integrity, name)
		}
	}
}
