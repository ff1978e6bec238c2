package nfs_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	withNFS    = flag.Bool("nfs", false, "start the NFS server and the two guests")
	kernelDir  = flag.String("kernel", "", "directory with boot/vmlinuz-* and lib/modules, as dpkg-deb -x makes it")
	cycles     = flag.Int("cycles", 2000, "how often to count under the lock")
	resultFile = flag.String("result", "../testdata/nfs.json", "where to write what a run without failures has shown; empty: nowhere")
	suiteRun   = flag.String("suite", "", "only the subtests of the suite that match, as in -run")
	mountOpts  = flag.String("mount", "vers=4.2", "mount options of the guests")
)

// The environment of a process that is no test.
const (
	roleEnv = "NFS_TEST_ROLE"
	dirEnv  = "NFS_TEST_DIR"
	pollEnv = "NFS_TEST_POLL"

	guestRole  = "guest"
	playerRole = "player"
	serveRole  = "serve"
	relayRole  = "relay"
	workerRole = "worker"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := run(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func run(role string) error {
	switch role {
	case guestRole:
		return runGuest()
	case playerRole:
		return runPlayer(os.Getenv(dirEnv))
	case serveRole:
		return runServe(os.Getenv(dirEnv))
	case relayRole:
		return runRelay()
	case workerRole:
		return runWorker()
	}
	return fmt.Errorf("unknown role %q", role)
}
