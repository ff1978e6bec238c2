//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestMain(m *testing.M) {
	if played, err := play(os.Getenv(roleVariable)); played {
		exit(err)
	}
	os.Exit(leaktest.Main(m))
}

// Each measure does everything once. All that a target compares must have been measured, and
// nothing may be left: neither a process nor a file.
func TestMeasures(t *testing.T) {
	r := &report{Date: time.Now(), Machine: describeMachine(options{dir: ".", memDir: "/dev/shm"})}
	for _, m := range measures() {
		t.Run(m.name, func(t *testing.T) {
			e := &env{scale: tiny, dir: t.TempDir(), memDir: t.TempDir(), progress: func(string) {}}
			o, err := m.run(t.Context(), e)
			require.NoError(t, err)
			require.Empty(t, children(t), "processes are left")
			for _, dir := range []string{e.dir, e.memDir} {
				left, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.Empty(t, left)
			}
			childtest.Need(t, "strace", len(o.Results) > 0)
			for _, result := range o.Results {
				require.NotZero(t, result.Rounds, "%s %s", result.Peer, result.At)
				require.NotEmpty(t, result.Figures, "%s %s", result.Peer, result.At)
				for _, f := range result.Figures { // what was noted before it was measured is no duration, and has no goroutines
					require.GreaterOrEqual(t, f.P50, -float64(time.Minute), "%s of %s %s", f.Metric, result.Peer, result.At)
				}
			}
			for _, v := range o.Targets {
				require.True(t, v.Known, "%s has nothing to compare", v.Target)
			}
			r.Outcomes = append(r.Outcomes, o)
		})
	}
	dir := t.TempDir()
	require.NoError(t, r.write(dir))
	if len(r.Outcomes) < len(measures())-1 { // not all were to be run; one needs strace
		return
	}
	for _, file := range []string{"results.json", "RESULTS.md", "between-processes.svg", "uncontended-disk.svg", "uncontended-memory.svg", "directory-size-disk.svg", "directory-size-memory.svg", "uploads-at-once.svg"} {
		require.FileExists(t, filepath.Join(dir, file))
	}
}

// children lists the processes that this one has started and that are not gone.
func children(t *testing.T) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')'):]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}

// A child that is not ended by close would be found.
func TestChildrenAreFound(t *testing.T) {
	e := &env{scale: tiny, progress: func(string) {}}
	c, err := e.start("worker")
	require.NoError(t, err)
	require.Equal(t, []string{strconv.Itoa(c.pid())}, children(t))
	require.NoError(t, e.close())
	require.Empty(t, children(t))
}

// A worker ends by itself when who started it is gone.
func TestWorkersEndWithTheirInput(t *testing.T) {
	e := &env{scale: tiny, dir: t.TempDir(), progress: func(string) {}}
	c, err := e.start("worker")
	require.NoError(t, err)
	_, err = c.do(order{Do: "fill", Peer: ours, Dir: e.dir, ID: "a", Count: 3})
	require.NoError(t, err)
	require.NoError(t, c.end())
	require.NoError(t, e.close())
}

func TestWorkersReportErrors(t *testing.T) {
	e := &env{scale: tiny, dir: t.TempDir(), progress: func(string) {}}
	defer e.close()
	c, err := e.start("worker")
	require.NoError(t, err)
	_, err = c.do(order{Do: "dance"})
	require.ErrorContains(t, err, "no such order: dance")
	_, err = c.do(order{Do: "cycles", Peer: ours, Dir: filepath.Join(e.dir, "absent"), ID: "a", Count: 1})
	require.ErrorContains(t, err, "absent")
	_, err = c.do(order{Do: "fill", Peer: "nobody", Dir: e.dir, Count: 1})
	require.ErrorContains(t, err, `no locker "nobody"`)
}

// README.md has a section for each measure, and for nothing else.
func TestReadmeExplainsEachMeasure(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var explained []string
	for _, match := range regexp.MustCompile("(?m)^### `(.+)`").FindAllSubmatch(text, -1) {
		explained = append(explained, string(match[1]))
	}
	require.Equal(t, names(measures()), explained)
}

func TestParse(t *testing.T) {
	var out bytes.Buffer
	o, err := parse([]string{"-quick", "-run", "^kill", "-rounds", "3", "-memdir", "/absent"}, &out)
	require.NoError(t, err)
	require.Equal(t, quick, o.scale)
	require.Equal(t, 3, o.rounds)
	require.Empty(t, o.memDir)
	require.Contains(t, out.String(), "only one file system is measured")
	require.True(t, o.run.MatchString(killed().name))
	require.False(t, o.run.MatchString(uploads().name))
	for _, args := range [][]string{{"-run", "("}, {"extra"}, {"-no-such-flag"}} {
		_, err := parse(args, &out)
		require.Error(t, err, "%v", args)
	}
}
