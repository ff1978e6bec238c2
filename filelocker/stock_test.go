package filelocker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stockFailures says how each test of the files defects*_test.go fails over the stock locker.
func stockFailures() map[string]string {
	return map[string]string{
		"TestTimeoutWithdrawsTheRequest":               `"a.stop"`,
		"TestAbandonedRequestDoesNotStopTheNextHolder": "the holder was asked to let go",
		"TestOwnRequestDoesNotStopTheHolder":           "the holder was asked to let go",
		"TestSecondUnlockIsAnError":                    "close of closed channel",
		"TestOnlyTheHolderUnlocks":                     "files in the directory",
		"TestLossIsTold":                               "the holder was not asked to let go",
		"TestIDsStayInTheDirectory":                    "the ID must be refused",
		"TestUploadsNamedLikeLocks":                    "the lock \"a\" must be busy",
		"TestHeldLocksCostNoGoroutine":                 "goroutines with 5000 held locks",
		"TestDefaultsAreThoseDocumented":               "the default of ",
		"TestStaleLockHasOneHeir":                      "two holders of one lock",
		"TestLockOfAKilledContainer":                   `the lock "a" must be free`,
		"TestHolderInAnotherContainer":                 "the holder outside was robbed",
		"TestHolderOfAnotherUser":                      "the holder of another user was robbed",
		"TestRecycledPID":                              `the lock "a" must be free`,
		"TestKilledProcessesLeaveNothing":              `"a.lock.`,
		"TestFileSystemsWithoutHardLinks":              "operation not permitted",
		"TestZeroIntervalsDoNotSpin":                   "descriptors opened in a wait",
		"TestHeldLocksCostNoSystemCalls":               "system calls of an idle process",
	}
}

// TestStockHasTheDefects shows that the tests of the defects can fail: over the stock locker
// each one does, and says what is expected of it. None of them depends on chance.
func TestStockHasTheDefects(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	tests := defectTests(t)
	failures := stockFailures()
	require.Len(t, failures, len(tests), "every test of a defect, and nothing else, is listed")
	exe, err := os.Executable()
	require.NoError(t, err)
	for _, name := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			says, ok := failures[name]
			require.True(t, ok, "it is not known how %s fails over the stock locker", name)
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+name+"$", "-test.v", "-test.timeout=5m")
			cmd.Env = append(os.Environ(), overEnv+"="+string(stock), "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			need(t, "what "+name+" needs", !strings.Contains(string(out), "--- SKIP: "+name+" "))
			require.Error(t, err, "%s passes over the stock locker:\n%s", name, out)
			require.Contains(t, string(out), "--- FAIL: "+name+" ")
			require.Contains(t, string(out), says)
		})
	}
}

// defectTests lists the tests of the files for this system.
func defectTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("defects*_test.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
