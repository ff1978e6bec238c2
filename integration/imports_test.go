package integration_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/tusd-filelock/tusd-filelock/"
	tusd   = "github.com/tus/tusd/v2/pkg/"
	system = "golang.org/x/sys/"
)

// mayImport is what each package may import beside the standard library, so that who wants one
// lock gets that one, and the arrows between packages point one way.
var mayImport = map[string][]string{
	"internal/filelock":  {system},
	"internal/dirwatch":  {system},
	"internal/line":      {system},
	"internal/interrupt": {},
	"internal/leaktest":  {},
	"internal/childtest": {system, "github.com/stretchr/testify/"}, // only tests import it

	"flock":     {system, module + "internal/filelock"},
	"touchfile": {module + "internal/filelock"},
	"mutex":     {system, module + "internal/filelock"},
	"memlock":   {"github.com/bradfitz/gomemcache/"},

	"filelocker": {system, tusd + "handler", module + "internal/filelock", module + "internal/dirwatch", module + "internal/line", module + "internal/interrupt"},
	"lockertest": {tusd + "handler"}, // for any locker, so not ours
}

func TestImportsPointOneWay(t *testing.T) {
	for pkg, allowed := range mayImport {
		for _, path := range imports(t, pkg) {
			require.True(t, startsWithAny(path, allowed), "%s must not import %s", pkg, path)
		}
	}
	for _, path := range imports(t, "...") {
		require.NotContains(t, path, "internal/childtest", "only tests may import it")
		require.NotContains(t, path, "internal/leaktest", "only tests may import it")
	}
}

// imports lists what is imported outside of the standard library, not counting tests.
func imports(t *testing.T, pattern string) (paths []string) {
	t.Helper()
	const format = `{{range .Imports}}{{println .}}{{end}}`
	out, err := exec.Command("go", "list", "-f", format, module+pattern).Output()
	require.NoError(t, err)
	for _, path := range strings.Fields(string(out)) {
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
			paths = append(paths, path)
		}
	}
	return paths
}

func startsWithAny(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
