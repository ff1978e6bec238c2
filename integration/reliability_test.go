package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testCommand = regexp.MustCompile("`go test ([^`]*)`")
	runPattern  = regexp.MustCompile(`-(?:run|fuzz) '?([^' ]+)'?`)
	testFunc    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// The commands that RELIABILITY.md names for its evidence run tests that are there.
func TestReliabilityNamesTests(t *testing.T) {
	page, err := os.ReadFile("../RELIABILITY.md")
	require.NoError(t, err)
	commands := testCommand.FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, commands)
	for _, c := range commands {
		if strings.Contains(c[1], "...") {
			continue
		}
		tests := testsIn(t, c[1])
		require.NotEmpty(t, tests, "packages of %q", c[1])
		patterns := runPattern.FindAllStringSubmatch(c[1], -1)
		for _, p := range patterns {
			if p[1] == "^$" {
				continue
			}
			for alternative := range strings.SplitSeq(strings.ReplaceAll(p[1], `\|`, "|"), "|") {
				require.Regexp(t, "(?m)"+alternative, strings.Join(tests, "\n"), "%q runs nothing for %q", c[1], alternative)
			}
		}
	}
	require.NotRegexp(t, `@[A-Z]+@`, string(page), "figures are missing")
}

// testsIn lists the tests in the packages of a command line, one name each.
func testsIn(t *testing.T, command string) (names []string) {
	t.Helper()
	command, _, _ = strings.Cut(command, " -args")
	for _, word := range strings.Fields(command) {
		if !strings.HasPrefix(word, "./") {
			continue
		}
		files, err := filepath.Glob(filepath.Join("..", word, "*_test.go"))
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range testFunc.FindAllStringSubmatch(string(source), -1) {
				names = append(names, m[1])
			}
		}
	}
	return names
}
