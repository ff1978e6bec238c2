// Package model_test checks the model of the protocol on disk.
package model_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShort runs what check looks at in seconds: the protocol with two processes, and that
// each protocol which is broken on purpose is found to be.
func TestShort(t *testing.T) {
	for _, tool := range []string{"spin", "gcc"} {
		_, err := exec.LookPath(tool)
		need(t, tool+", to check the model", err == nil)
	}
	out, err := exec.CommandContext(t.Context(), "./check", "-short").CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	require.Contains(t, string(out), "\nholds ")
	require.Contains(t, string(out), "\ncaught ")
}

var (
	inReadme = regexp.MustCompile("`([a-z_]+\\.go):([A-Za-z.]+)`")
	step     = regexp.MustCompile("`([A-Z][A-Z_]+)`")
	inModel  = regexp.MustCompile(`AT\(([A-Z_]+)\)`)
)

// TestReadmeNamesFunctions finds steps that are said to stand for code that is not there.
func TestReadmeNamesFunctions(t *testing.T) {
	there := functions(t, "..")
	named := inReadme.FindAllStringSubmatch(read(t, "README.md"), -1)
	require.NotEmpty(t, named)
	for _, m := range named {
		require.Contains(t, there[m[1]], m[2], "README.md names %s in %s", m[2], m[1])
	}
}

// TestReadmeNamesSteps finds steps of the model that are not said to stand for any code.
func TestReadmeNamesSteps(t *testing.T) {
	named := make(map[string]bool)
	for _, m := range step.FindAllStringSubmatch(read(t, "README.md"), -1) {
		named[m[1]] = true
	}
	steps := inModel.FindAllStringSubmatch(read(t, "lock.pml"), -1)
	require.NotEmpty(t, steps)
	for _, m := range steps {
		require.True(t, named[m[1]] || strings.HasPrefix(m[1], "BROKEN_"), "README.md does not say what %s stands for", m[1])
	}
}

// functions is the names of the functions and methods, as in request.post, of each Go file in dir.
func functions(t *testing.T, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	names := make(map[string][]string)
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				base := filepath.Base(path)
				names[base] = append(names[base], receiver(fn)+fn.Name.Name)
			}
		}
	}
	return names
}

// receiver is the type that fn is a method of, with a dot behind it.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "."
	}
	return ""
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

// need skips a test that lacks something, or fails it where nothing may be lacking.
func need(t *testing.T, what string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("TUSD_FILELOCK_REQUIRE_ALL") == "1":
		t.Fatalf("this test needs %s", what)
	default:
		t.Skipf("this test needs %s", what)
	}
}
