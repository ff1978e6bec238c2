//go:build linux

package history_test

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	lasting  = flag.Duration("histories", 3*time.Second, "how long the workers of the recorded processes run")
	longest  = flag.Duration("hold", 4*time.Millisecond, "the longest ordinary hold; 0 unlocks at once")
	seedFlag = flag.Uint64("seed", 0, "seed of the random choices; 0 draws one")
	pictures = flag.String("pictures", "", "directory for pictures of illegal histories; a temporary one if empty")
)

// TestMain is also the entry of the recorded processes, which are this binary with childEnv set.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(runChild(spec))
	}
	os.Exit(m.Run())
}
