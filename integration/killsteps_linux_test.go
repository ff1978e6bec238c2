package integration_test

import (
	"context"
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server is killed at the n-th call of one kind (strace counts for each thread), for each
// n and each call with which a lock is taken, waited for, taken over and released. Whatever
// it leaves, the next server goes on at once and cleans up.
func TestKilledAtEachStep(t *testing.T) {
	need(t, "strace", exec.Command("strace", "-qq", "-o", "/dev/null", "true").Run() == nil)
	dir := t.TempDir()
	next := startServer(t, dir)
	for name, before := range map[string]func(*testing.T, *upload){
		"lock free": func(*testing.T, *upload) {},
		"lock left by a dead server": func(t *testing.T, u *upload) {
			s := startServer(t, dir)
			stall(t, s.url, u, 0, 10<<10)
			u.awaitSize(t, dir, 10<<10)
			s.kill(t)
		},
		"lock held": func(t *testing.T, u *upload) {
			stall(t, next.url, u, 0, 10<<10)
			u.awaitSize(t, dir, 10<<10)
		},
	} {
		for _, call := range []string{"openat", "flock", "pwrite64", "fstat", "newfstatat", "renameat2", "unlinkat"} {
			t.Run(name+"/"+call, func(t *testing.T) {
				deaths := 0
				for n := 1; ; n++ {
					u := create(t, next.url, content(uint64(n), 64<<10))
					before(t, u)
					reached, died := killAtStep(t, dir, u, call, n)
					u.finish(t, next.url, dir)
					left := noUploads(t, dir)
					require.Empty(t, left, "after death %d of %s", n, call)
					if reached && died {
						deaths++
					}
					if reached && !died {
						t.Logf("killed at %d steps", deaths)
						// The loader of a dynamic binary makes more such calls than any thread later.
						require.True(t, deaths > 0 || raceServer(), "the server does not call %s", call)
						return
					}
				}
			})
		}
	}
}

// killAtStep starts a server that is killed at its n-th such call, and has it work on the
// upload. It tells whether the server got to serve at all, and whether it died.
func killAtStep(t *testing.T, dir string, u *upload, call string, n int) (reached, died bool) {
	t.Helper()
	cmd := exec.Command("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n),
		*serverBinary, "-host", "127.0.0.1", "-port", "0", "-upload-dir", dir)
	configure(cmd, launch{})
	p := startProcess(t, "traced tusd-filelock", cmd)
	url, ok := p.lineOrEnd("You can now upload files to: ")
	if !ok {
		return false, true
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	if a, err := head(ctx, url+u.id); err == nil {
		_, _ = patch(ctx, url+u.id, a.offset, u.data[a.offset:a.offset+(20<<10)])
		_, err = head(ctx, url+u.id)
		if err == nil {
			return true, false
		}
	}
	p.wait(t) // by itself
	return true, true
}
