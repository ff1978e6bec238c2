package integration_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

var (
	serverBinary = flag.String("server", "", "test this tusd-filelock binary instead of building one")
	chaosFor     = flag.Duration("chaos", 15*time.Second, "how long the chaos test goes on")
	chaosSeed    = flag.Uint64("seed", 0, "seed of the chaos test; 0 draws one")
)

// roleVariable makes the test binary play another program, see the roles in TestMain.
const roleVariable = "TUSD_FILELOCK_INTEGRATION_ROLE"

// hang is how long anything may take before it counts as hanging.
const hang = 60 * time.Second

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(run(m))
	case "stock":
		exitOn(serveStock(os.Args[1:]))
	case "enter":
		exitOn(enter(os.Args[1:]))
	case "hog":
		exitOn(hogInotify())
	default:
		exitOn(fmt.Errorf("unknown role %q", role))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run builds the server, runs the tests and looks for what they left behind.
func run(m *testing.M) int {
	flag.Parse()
	if *serverBinary == "" {
		dir, err := build()
		defer os.RemoveAll(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		*serverBinary = filepath.Join(dir, "tusd-filelock")
	}
	// The fuzzer's first Notify starts a goroutine that stays.
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settled(before) {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", buf[:runtime.Stack(buf, true)])
		return 1
	}
	return code
}

// build makes a static binary, as the image's is, in a new directory.
func build() (dir string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if dir, err = os.MkdirTemp("", "tusd-filelock-integration"); err != nil {
		return "", err
	}
	// Servers that run as another user start this binary, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	args, env := []string{"build"}, append(os.Environ(), "CGO_ENABLED=0")
	if raceServer() {
		args, env = append(args, "-race"), os.Environ()
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", dir+"/tusd-filelock", "../cmd/tusd-filelock")...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build of the server: %w\n%s", err, out)
	}
	return dir, nil
}

func raceServer() bool { return os.Getenv("TUSD_FILELOCK_RACE") == "1" }

// settled tells whether the number of goroutines comes back to what it was. Connections
// that were closed a moment ago still have theirs.
func settled(before int) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return true
		}
		<-ticker.C
	}
	return false
}

// need skips the test where something is missing, or fails it where everything must run.
func need(t testing.TB, reason string, ok bool) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("TUSD_FILELOCK_REQUIRE_ALL") == "1" {
		t.Fatalf("missing: %s", reason)
	}
	t.Skipf("missing: %s", reason)
}

// await looks again and again until ok, and fails the test when that takes too long.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(hang)
	defer deadline.Stop()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain for %s", hang, what)
		}
	}
}
