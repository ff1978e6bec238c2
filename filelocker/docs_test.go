package filelocker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// packageOf is the source directory of a locker.
func packageOf(k kind) string {
	path := "."
	if k == stock {
		path = "github.com/tus/tusd/v2/pkg/filelocker"
	}
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		panic(fmt.Errorf("go list %s: %w", path, err))
	}
	return strings.TrimSpace(string(out))
}

// parsed is the package's source without its tests.
func parsed(t *testing.T, dir string) []*ast.File {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// typeDoc is the documentation of a type, in one line.
func typeDoc(t *testing.T, dir, name string) string {
	for _, file := range parsed(t, dir) {
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if ok && d.Tok == token.TYPE && d.Specs[0].(*ast.TypeSpec).Name.Name == name {
				return strings.Join(strings.Fields(d.Doc.Text()), " ")
			}
		}
	}
	require.FailNow(t, "there is no such type", "%s in %s", name, dir)
	return ""
}

// fieldDocs is the documentation of the fields of a struct type, by name.
func fieldDocs(t *testing.T, dir, typeName string) map[string]string {
	docs := make(map[string]string)
	for _, file := range parsed(t, dir) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != typeName {
				return true
			}
			for _, field := range spec.Type.(*ast.StructType).Fields.List {
				for _, name := range field.Names {
					docs[name.Name] = strings.Join(strings.Fields(field.Doc.Text()+" "+field.Comment.Text()), " ")
				}
			}
			return false
		})
	}
	require.NotEmpty(t, docs, "%s in %s", typeName, dir)
	return docs
}

// The documentation of the fields cites the constants, and what else says the values says the
// same ones.
func TestDocumentationNamesTheDefaults(t *testing.T) {
	docs := fieldDocs(t, packageOf(ours), "FileLocker")
	require.Contains(t, docs["HolderPollInterval"], "DefaultHolderPollInterval")
	require.Contains(t, docs["AcquirerPollInterval"], "DefaultAcquirerPollInterval")

	readme, err := os.ReadFile(filepath.Join(packageOf(ours), "..", "README.md"))
	if os.IsNotExist(err) {
		t.Skip("there is no README.md yet")
	}
	require.NoError(t, err)
	for _, d := range []time.Duration{filelocker.DefaultHolderPollInterval, filelocker.DefaultAcquirerPollInterval} {
		require.Regexp(t, fmt.Sprintf(`\b%d ?s\b`, d/time.Second), string(readme), "the README has another default")
	}
}

// The documentation says how long a Path stays open for nobody.
func TestDocumentationNamesTheLinger(t *testing.T) {
	doc := typeDoc(t, packageOf(ours), "FileLocker")
	require.Contains(t, doc, fmt.Sprintf("ends %v seconds after the last", filelocker.LingerInRoot.Seconds()))
}

// The package says after what time a waiter does not rely on the one ahead of it any more.
func TestDocumentationNamesTheTrust(t *testing.T) {
	for _, file := range parsed(t, packageOf(ours)) {
		if doc := file.Doc.Text(); doc != "" {
			require.Contains(t, doc, fmt.Sprintf("after %v seconds each one", filelocker.LineTrust.Seconds()))
			return
		}
	}
	require.FailNow(t, "the package is documented")
}

// Every exported name is documented.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	described := false
	for _, file := range parsed(t, packageOf(ours)) {
		described = described || file.Doc.Text() != ""
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d)) {
					require.NotEmpty(t, d.Doc.Text(), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					checkSpec(t, d, spec)
				}
			}
		}
	}
	require.True(t, described, "the package is documented")
	for field, doc := range fieldDocs(t, packageOf(ours), "FileLocker") {
		require.NotEmpty(t, doc, field)
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	exported := false
	ast.Inspect(d.Recv, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			exported = exported || ast.IsExported(id.Name)
		}
		return true
	})
	return exported
}

func checkSpec(t *testing.T, d *ast.GenDecl, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			require.NotEmpty(t, d.Doc.Text()+s.Doc.Text(), s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() {
				require.NotEmpty(t, d.Doc.Text()+s.Doc.Text()+s.Comment.Text(), name.Name)
			}
		}
	}
}
