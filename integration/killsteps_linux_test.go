package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
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
					died := killAtStep(t, dir, u, call, n)
					u.finish(t, next.url, dir)
					left := noUploads(t, dir)
					require.Empty(t, left, "after death %d of %s", n, call)
					if !died {
						t.Logf("killed at %d steps", deaths)
						require.NotZero(t, deaths, "the server does not call %s", call)
						return
					}
					deaths++
				}
			})
		}
	}
}

// killAtStep starts a server that is killed at the n-th such call of a thread from then on, and
// has it work on the upload. It tells whether the server died.
func killAtStep(t *testing.T, dir string, u *upload, call string, n int) (died bool) {
	t.Helper()
	s := startServer(t, dir)
	defer s.kill(t)
	tracer := startProcess(t, "strace", exec.Command("strace", "-f", "-o", "/dev/null", "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), "-p", strconv.Itoa(s.cmd.Process.Pid)))
	tracer.line(t, " attached")
	defer func() {
		_ = tracer.cmd.Process.Signal(os.Interrupt) // if it has not ended with the server
		tracer.wait(t)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	if a, err := head(ctx, s.url+u.id); err == nil {
		_, _ = patch(ctx, s.url+u.id, a.offset, u.data[a.offset:a.offset+(20<<10)])
		if _, err = head(ctx, s.url+u.id); err == nil {
			return false
		}
	}
	s.wait(t) // by itself
	return true
}
