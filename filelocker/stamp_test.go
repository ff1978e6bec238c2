package filelocker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

const (
	stampFormat = `{"v":1,"host":"h","boot":%q,"pidns":1,"start":"2026-01-01T00:00:00Z","mode":"exclusive","since":"2026-01-01T00:00:00Z","token":"t","keeps":%q}`
	otherBoot   = "00000000-0000-0000-0000-000000000000"
)

// FuzzStamp: what is accepted as a stamp is written so that it is read as the same again, the stock locker
// reads the same PID from it, and what is read by hand is what encoding/json reads.
func FuzzStamp(f *testing.F) {
	own := filelocker.NewStamp()
	for _, seed := range []string{string(own), "1", "1\n", "4194304\n", "1 2\n", "-1\n", "+1\n", "01\n", " 1\n", "1\r\n", "1\n\n", "1\n{}\n",
		"1\n" + fmt.Sprintf(stampFormat, "b", "kernel") + "\n", "1\n" + fmt.Sprintf(stampFormat, "b", "kernel") + "\nmore", "hello\nworld", "99999999999999999999\n", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, second, _ := strings.Cut(string(b), "\n")
		if byHand, ok, byJSON, err := filelocker.ReadLine(strings.TrimSuffix(second, "\n")); ok {
			require.NoError(t, err)
			require.Equal(t, byJSON, byHand)
		}
		once, err := filelocker.RoundTrip(b)
		if err != nil {
			return
		}
		twice, err := filelocker.RoundTrip(once)
		require.NoError(t, err)
		require.Equal(t, string(once), string(twice))

		// The stock locker must read the same PID from it, and no further word.
		first, _, _ := strings.Cut(string(b), "\n")
		var pid int
		n, err := fmt.Sscanln(string(once), &pid)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, first, strconv.Itoa(pid))
	})
}

func TestStampOfThisProcess(t *testing.T) {
	b := filelocker.NewStamp()
	lines := strings.Split(string(b), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, strconv.Itoa(os.Getpid()), lines[0])
	require.Empty(t, lines[2])

	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &fields))
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, fields["host"])
	for _, name := range []string{"v", "boot", "pidns", "start", "mode", "since", "token", "keeps"} {
		require.Contains(t, fields, name)
	}
	start, err := time.Parse(time.RFC3339Nano, fields["start"].(string))
	require.NoError(t, err)
	require.Less(t, time.Since(start), 24*time.Hour, "the process did not start in another age")

	again, err := filelocker.RoundTrip(b)
	require.NoError(t, err)
	zeros := regexp.MustCompile(`\.?0*Z","token"`)
	require.Equal(t, zeros.ReplaceAllString(string(b), `Z","token"`), string(again), "written by hand and by encoding/json")

	other := filelocker.NewStamp()
	require.NotEqual(t, string(b), string(other), "tokens are never used twice")
}

// A line that is not quite what a locker writes is encoding/json's to read, or to refuse.
func TestStampReadByHand(t *testing.T) {
	line := fmt.Sprintf(stampFormat, "b", "kernel")
	_, ok, _, _ := filelocker.ReadLine(line)
	require.True(t, ok)
	for _, c := range []struct{ old, new string }{
		{`"v":1`, `"v":01`}, {`"v":1`, `"v":-1`}, {`"v":1`, `"v":+1`}, {`"v":1`, `"v":`}, {`"v":1`, `"v":4294967296`}, {`"v":1`, `"v":1,"new":true`},
		{`"pidns":1`, `"pidns":18446744073709551616`}, {`"pidns":1`, `"pidns":1.0`}, {`"pidns":1,`, ``}, {`"host":"h"`, `"host": "h"`},
		{`"host":"h"`, `"host":"\u0068"`}, {`"host":"h"`, `"host":"\h"`}, {`"host":"h"`, `"host":"h` + "\x00" + `"`}, {`"host":"h"`, `"host":"` + "\xff" + `"`},
		{`"host":"h"`, `"host":null`}, {`"start":"2026-01-01T00:00:00Z"`, `"start":"2026-01-01"`}, {`"start":"2026-01-01T00:00:00Z"`, `"start":""`},
		{`"since":"2026-01-01T00:00:00Z"`, `"since":"2026-13-01T00:00:00Z"`}, {`"keeps":"kernel"}`, `"keeps":"kernel"`}, {`"keeps":"kernel"}`, `"keeps":"kernel}`},
		{`"keeps":"kernel"}`, `"keeps":"kernel"}}`}, {`"keeps":"kernel"}`, `"keeps":"kernel"} `}, {`"token"`, `"Token"`},
	} {
		other := strings.Replace(line, c.old, c.new, 1)
		require.NotEqual(t, line, other)
		byHand, ok, _, _ := filelocker.ReadLine(other)
		require.False(t, ok, other)
		require.Zero(t, byHand, other)
	}
}

func TestVerdicts(t *testing.T) {
	own := filelocker.NewStamp()
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	boot := strings.TrimSpace(string(bootID))
	self := func(keeps string) []byte {
		return []byte(strings.Replace(string(own), `"keeps":"kernel"`, `"keeps":"`+keeps+`"`, 1))
	}
	remoteStamp := func(boot, keeps string) []byte { return []byte("7\n" + fmt.Sprintf(stampFormat, boot, keeps) + "\n") }
	me := []byte(strconv.Itoa(os.Getpid()) + "\n")
	now := time.Now()

	for _, c := range []struct {
		name           string
		content        []byte
		modified       time.Time
		locked, remote bool
		liveness       string
		silent         time.Duration
	}{
		{"own format, kernel lock free", own, now, true, false, "dead", 0},
		{"own format, kernel lock cannot be tried", own, now, false, false, "unknown", 0},
		{"this machine's on a file server, kernel lock free", remoteStamp(boot, "both"), now, true, true, "dead", 0},
		{"this machine's on a file server, without a kernel lock", remoteStamp(boot, "heartbeat"), now, true, true, "dead", 30 * time.Second},
		{"without a kernel lock, which can be had by now", remoteStamp(boot, "heartbeat"), now, true, false, "dead", 30 * time.Second},
		{"another machine's on a file server", remoteStamp(otherBoot, "both"), now, true, true, "dead", 30 * time.Second},
		{"this process's own, its hold over", self("heartbeat"), now, true, false, "dead", 0},
		{"another machine's by kernel lock only", remoteStamp(otherBoot, "kernel"), now, true, true, "unknown", 0},
		{"another boot's on a local disk", remoteStamp(otherBoot, "kernel"), now, true, false, "dead", 0},
		{"heartbeat without kernel locks", remoteStamp(otherBoot, "heartbeat"), now, false, true, "dead", 30 * time.Second},
		{"stock, running", me, now, true, false, "alive", 0},
		{"stock, recycled PID", me, now.Add(-365 * 24 * time.Hour), true, false, "dead", 0},
		{"stock, no such process", []byte(strconv.Itoa(deadPID(t)) + "\n"), now, true, false, "dead", 0},
		{"stock without a line end", me[:len(me)-1], now, true, false, "alive", 0},
		{"being created", nil, now, true, false, "dead", 10 * time.Second},
		{"no lock file", []byte("hello\nworld\n"), now, true, false, "unknown", 0},
		{"more words than a PID", []byte("1 2\n"), now, true, false, "unknown", 0},
		{"a later version", []byte(strings.Replace(string(remoteStamp(otherBoot, "kernel")), `"v":1`, `"v":9,"new":true`, 1)), now, true, false, "dead", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			liveness, why, silent := filelocker.Judge(c.content, c.modified, c.locked, c.remote)
			require.Equal(t, c.liveness, liveness, why)
			require.Equal(t, c.silent, silent)
			require.NotEmpty(t, why)
		})
	}
}

// deadPID is the PID of a process that has just ended.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	require.NoError(t, cmd.Run())
	return cmd.Process.Pid
}
