package lockertest_test

import (
	"log"
	"os"
	"os/exec"
	"testing"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
	"github.com/tusd-filelock/tusd-filelock/lockertest"
)

// A locker that keeps its locks in a directory, so that other processes can share them, and
// promises what such a locker can. TestMain has made another process of this test binary if
// the variable is set.
func Example() {
	TestMain := func(m *testing.M) {
		if dir := os.Getenv("LOCKER_TEST_DIR"); dir != "" {
			if err := lockertest.Serve(filelocker.New(dir), nil); err != nil {
				log.Fatal(err)
			}
			return
		}
		os.Exit(m.Run())
	}
	TestLocker := func(t *testing.T) {
		lockertest.Run(t, lockertest.Factory{
			New:    func(t testing.TB) handler.Locker { return filelocker.New(t.TempDir()) },
			Claims: []lockertest.Capability{lockertest.InOrder, lockertest.Crash, lockertest.Pause},
			Command: func(t testing.TB, l handler.Locker) *exec.Cmd {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "LOCKER_TEST_DIR="+l.(filelocker.FileLocker).Path)
				return cmd
			},
		})
	}
	_, _ = TestMain, TestLocker // go test calls them
}
