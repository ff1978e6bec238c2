package filelocker_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Readers that were asked by a request without a claim that came again keep the next ones out
// for a while: whoever made it, a stock process or a slow writer, would never get in otherwise.
func TestRequestThatCameAgainKeepsReadersOut(t *testing.T) {
	f := setUp(t)
	g := f.read("a")
	for over := time.Now().Add(f.patience()); g.calls.Load() == 0; time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(over), "the reader was not asked")
		f.leave("leftover", "", 0)
		require.NoError(t, os.Rename(f.path("leftover"), f.path("a.stop")))
	}
	f.mustBeShut("a")
	g.unlock()
	f.hold("a").unlock()
	f.mustHold()
}
