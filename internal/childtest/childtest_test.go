package childtest_test

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) {
	childtest.Main(actor)
	os.Exit(leaktest.Main(m))
}

// actor is the helper process, which writes a file when it gets no more orders.
func actor(path string, orders iter.Seq[string]) {
	runtime.LockOSThread()
	for order := range orders {
		switch order {
		case "greet":
			fmt.Println(os.Getenv("GREETING"))
		case "look":
			_, err := os.ReadFile(path)
			if err == nil {
				_, err = os.Stat(path)
			}
			fmt.Println(err)
		case "leave":
			return
		}
	}
	_ = os.WriteFile(path, []byte("the end"), 0o600)
}

func TestOrders(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "f")
	c := childtest.Start(t, path, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GREETING=hello") })
	c.Do("look", "open "+path+": no such file or directory")
	c.Tell("greet")
	c.Tell("greet")
	c.Expect("hello", "hello")
	c.End()
	require.FileExists(t, path)
}

func TestEnds(t *testing.T) {
	for what, end := range map[string]func(*childtest.Child){
		"killed":      (*childtest.Child).Kill,
		"of its own":  func(c *childtest.Child) { c.Tell("leave") },
		"had its say": (*childtest.Child).End,
	} {
		t.Run(what, func(t *testing.T) {
			c := childtest.Start(t, "")
			end(c)
			c.Expect("")
			require.ErrorIs(t, c.Process.Kill(), os.ErrProcessDone)
		})
	}
}

// verdict is a test that notes what becomes of it.
type verdict struct {
	testing.TB
	is string
}

func (v *verdict) Helper()                        {}
func (v *verdict) Skipf(reason string, a ...any)  { v.is = "skipped: " + fmt.Sprintf(reason, a...) }
func (v *verdict) Fatalf(reason string, a ...any) { v.is = "failed: " + fmt.Sprintf(reason, a...) }

func TestNeed(t *testing.T) {
	for _, test := range []struct {
		all, want string
		ok        bool
	}{
		{"", "", true},
		{"", "skipped: this test needs wings", false},
		{"0", "skipped: this test needs wings", false},
		{"1", "", true},
		{"1", "failed: this test needs wings", false},
	} {
		t.Setenv("TUSD_FILELOCK_REQUIRE_ALL", test.all)
		var v verdict
		childtest.Need(&v, "wings", test.ok)
		require.Equal(t, test.want, v.is)
	}
}
