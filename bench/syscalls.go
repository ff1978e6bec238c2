//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// systemCalls counts what strace -c sees of a process that locks and unlocks, less what it
// sees of one that does so a hundred times less. There are many short rounds, and the one with the fewest
// counts: where the machine interrupts, a cycle can take so long that the next one makes a call more.
func systemCalls() measure {
	return measure{
		name:   "system-calls",
		title:  "system calls per cycle",
		rounds: 15,
		show:   []string{"calls of the locker", "calls"},
		targets: []target{
			under("at most 10 in the quietest round, those of Go's scheduler aside", count, 10, "calls of the locker", least, ""),
		},
		setUp: func(ctx context.Context, e *env) ([]peer, error) {
			if _, err := exec.LookPath("strace"); err != nil {
				e.progress("strace is not installed: no system calls are counted")
				return nil, nil
			}
			var peers []peer
			for _, name := range []string{ours, stock, floor, floorLooks, floorShort} {
				dir, err := e.tempDir()
				if err != nil {
					return nil, err
				}
				peers = append(peers, peer{name: name, round: func(ctx context.Context, s *series) error {
					return countCalls(ctx, e, name, dir, s)
				}})
			}
			return peers, nil
		},
	}
}

func countCalls(ctx context.Context, e *env, name, dir string, s *series) error {
	n := e.pick(100, 100, 20)
	const first = 10 // in which a process learns things
	base, err := traceCycles(ctx, name, dir, first)
	if err != nil {
		return err
	}
	calls, err := traceCycles(ctx, name, dir, n+first)
	if err != nil {
		return err
	}
	var all, made float64
	for call, times := range calls {
		each := float64(times-base[call]) / float64(n)
		if each < 0.1 { // what is made once in a while, whatever the number of cycles
			continue
		}
		s.add("calls of "+call, count, each)
		if all += each; !isOfScheduler(call) {
			made += each
		}
	}
	s.add("calls", count, all)
	s.add("calls of the locker", count, made)
	return nil
}

// isOfScheduler tells the calls that Go's runtime makes when a system call takes long, as each
// does under strace.
func isOfScheduler(call string) bool {
	return slices.Contains([]string{
		"futex", "sched_yield", "nanosleep", "epoll_pwait", "rt_sigprocmask", "rt_sigreturn",
		"rt_sigaction", "tgkill", "getpid", "gettid", "clone", "clone3", "madvise", "mmap", "munmap", "sigaltstack",
	}, call)
}

func traceCycles(ctx context.Context, name, dir string, n int) (map[string]int, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	report := filepath.Join(dir, "strace")
	defer os.Remove(report)
	cmd := exec.CommandContext(ctx, "strace", "-f", "-c", "-qq", "-o", report, exe, name, dir, strconv.Itoa(n))
	// One thread at a time is enough for one goroutine.
	cmd.Env = append(os.Environ(), roleVariable+"=cycles", "GOMAXPROCS=1", "GOGC=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("strace: %w\n%s", err, out)
	}
	f, err := os.Open(report)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseCalls(f)
}

// parseCalls reads the table of strace -c: time share, seconds, per call, calls, errors if
// there were any, name.
func parseCalls(r io.Reader) (map[string]int, error) {
	calls := make(map[string]int)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(fields[3]); err == nil {
			calls[fields[len(fields)-1]] += n
		}
	}
	return calls, lines.Err()
}
