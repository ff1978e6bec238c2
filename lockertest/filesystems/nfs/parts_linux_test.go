package nfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What can be tested without guests.

// Every header is 110 bytes, and names and contents end at multiples of four.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := &archive{w: &b}
	a.add("dev", os.ModeDir|0o755, nil)
	a.add("init", 0o755, []byte("hello"))
	require.NoError(t, a.close())
	require.Zero(t, b.Len()%4)

	type entry struct {
		name    string
		mode    uint64
		content string
	}
	var found []entry
	for data := b.Bytes(); ; {
		require.Equal(t, "070701", string(data[:6]))
		mode, size, length := field(t, data, 1), field(t, data, 6), field(t, data, 11)
		e := entry{name: string(data[110 : 110+length-1]), mode: mode}
		require.Zero(t, data[110+length-1])
		if e.name == "TRAILER!!!" {
			break
		}
		data = data[(110+length+3)&^3:]
		e.content = string(data[:size])
		data = data[(size+3)&^3:]
		found = append(found, e)
	}
	require.Equal(t, []entry{{"dev", 0o040755, ""}, {"init", 0o100755, "hello"}}, found)
}

// field reads one of a header's hexadecimal numbers.
func field(t *testing.T, header []byte, n int) (v uint64) {
	t.Helper()
	for _, c := range string(header[6+8*n : 14+8*n]) {
		digit := strings.IndexRune("0123456789abcdef", c)
		require.GreaterOrEqual(t, digit, 0)
		v = v<<4 | uint64(digit)
	}
	return v
}

// A full disk fails the archive, however late it shows.
func TestArchiveFails(t *testing.T) {
	read, write := io.Pipe()
	require.NoError(t, read.CloseWithError(syscall.ENOSPC))
	a := &archive{w: write}
	a.add("init", 0o755, []byte("hello"))
	require.ErrorIs(t, a.close(), syscall.ENOSPC)
}

func TestLoadOrder(t *testing.T) {
	needs := map[string][]string{"nfsv4": {"sunrpc", "nfs"}, "nfs": {"sunrpc", "lockd"}, "lockd": {"sunrpc"}, "x": {"y"}, "y": {"x"}}
	look := func(name string) ([]string, error) { return needs[name], nil }
	order, err := loadOrder([]string{"net", "nfsv4", "nfs"}, look)
	require.NoError(t, err)
	require.Equal(t, []string{"net", "sunrpc", "lockd", "nfs", "nfsv4"}, order)
	_, err = loadOrder([]string{"x"}, look)
	require.ErrorContains(t, err, "module x needs itself: x, y")
	_, err = loadOrder([]string{"x"}, func(string) ([]string, error) { return nil, syscall.EIO })
	require.ErrorIs(t, err, syscall.EIO)

	require.Equal(t, []string{"a", "b_c"}, parseDepends([]byte("license=GPL\x00depends=a,b-c\x00name=x\x00")))
	require.Empty(t, parseDepends([]byte("depends=\x00")))
}

// A kernel without the modules is refused before anything boots.
func TestInitramfsWithoutModules(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "lib", "modules"), 0o777))
	require.ErrorContains(t, initramfs(io.Discard, self(), dir), "no nfsv4.ko")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lib", "modules", "nfsv4.ko"), []byte("none"), 0o666))
	require.ErrorContains(t, initramfs(io.Discard, self(), dir), "nfsv4.ko")
}

func TestServerConfig(t *testing.T) {
	g := newGanesha(t, t.TempDir())
	conf, err := g.config()
	require.NoError(t, err)
	require.Contains(t, conf, "Bind_addr = 127.0.0.1;")
	require.Contains(t, conf, `Path = "`+g.Dir+`";`)
	require.DirExists(t, g.Dir)
	require.Less(t, g.Lease, int(beatLost.Seconds()), "else the lease decides when a frozen guest loses its locks")
	require.Equal(t, strings.Count(conf, "{"), strings.Count(conf, "}"))
}

func TestMachineArguments(t *testing.T) {
	m := &machine{name: "guest1", agent: "127.0.0.1:7", log: "log"}
	args := strings.Join(m.args(bootConfig{kernel: "vmlinuz", initramfs: "cpio", nfsPort: 8, mountOptions: "vers=4.2"}), " ")
	for _, want := range []string{"-accel tcg", "hostfwd=tcp:127.0.0.1:7-:7000", "GUEST_NAME=guest1", "NFS_PORT=8", "NFS_OPTIONS=vers=4.2"} {
		require.Contains(t, args, want)
	}
}

// Everything that is missing is named at once, with its package.
func TestMissing(t *testing.T) {
	nowhere := func(string) (string, error) { return "", exec.ErrNotFound }
	text := strings.Join(missing("arm64", 1, nowhere, t.TempDir()), "\n")
	for _, want := range []string{"amd64", "root", "qemu-system-x86", "nfs-ganesha", "nfs-ganesha-vfs"} {
		require.Contains(t, text, want)
	}
	plugins := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(plugins, "libfsalvfs.so"), nil, 0o666))
	require.Empty(t, missing("amd64", 0, func(string) (string, error) { return "", nil }, plugins))

	require.Equal(t, "linux-image-6.1.0-1-cloud-amd64", dependency("linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-1-cloud-amd64\n"))
	require.Empty(t, dependency("linux-image-cloud-amd64\n"))
}

// The monitor skips events, and reports errors.
func TestMonitor(t *testing.T) {
	answers := `{"QMP": {}} {"return": {}} {"event": "STOP"} {"return": {}} {"error": {"desc": "no"}}`
	var sent bytes.Buffer
	q := &monitor{to: json.NewEncoder(&sent), from: json.NewDecoder(strings.NewReader(answers))}
	require.NoError(t, q.greet())
	require.NoError(t, q.execute("stop"))
	require.ErrorContains(t, q.execute("cont"), "cont: no")
	require.ErrorIs(t, q.execute("cont"), io.EOF)
	require.Equal(t, 4, strings.Count(sent.String(), "\n"))
}

// agentHere runs an agent in this process.
func agentHere(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	over := make(chan error, 1)
	go func() { over <- serveAgents(l) }()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-over, net.ErrClosed)
	})
	return l.Addr().String()
}

// A player behind an agent locks, is asked, hands over, and can be stopped and killed.
func TestAgent(t *testing.T) {
	m := &machine{agent: agentHere(t)}
	dir := t.TempDir()
	a, b := m.player(t, "a", dir), m.player(t, "b", dir)
	a.take("x")
	b.order(takeLock, "x")
	a.hear(asked, "x")
	b.silent()
	a.free("x")
	require.Empty(t, b.hear(takeLock, "x").Error)

	a.order(takeLock, "x")
	b.hear(asked, "x")
	b.signal(syscall.SIGSTOP)
	b.signal(syscall.SIGCONT)
	b.kill()
	require.Error(t, b.err)
	require.Empty(t, a.hear(takeLock, "x").Error)
	require.NoError(t, os.Remove(filepath.Join(dir, "x.lock")))
	a.hear(asked, "x")
	a.order(freeLock, "x")
	require.True(t, a.hear(freeLock, "x").Lost)
	a.closeInput()
	<-a.gone
	require.NoError(t, a.err)
}

// What is done to a relay is done to the process that it stands for.
func TestRelay(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(self())
	cmd.Env = append(os.Environ(), roleEnv+"="+relayRole, relayedEnv+"="+playerRole, relayEnv+"="+agentHere(t), dirEnv+"="+dir)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	orders, told := json.NewEncoder(in), json.NewDecoder(out)
	require.NoError(t, orders.Encode(order{Do: takeLock, ID: "x"}))
	var n news
	require.NoError(t, told.Decode(&n))
	require.Equal(t, news{Is: takeLock, ID: "x"}, n)

	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	pid := holderOf(t, filepath.Join(dir, "x.lock"))
	require.Eventually(t, func() bool { return isStopped(pid) }, patience, tick)
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.Eventually(t, func() bool { return !isStopped(pid) }, patience, tick)

	require.NoError(t, cmd.Process.Kill())
	require.ErrorIs(t, told.Decode(&n), io.EOF) // when the worker has ended
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	var failed *exec.ExitError
	require.True(t, errors.As(cmd.Wait(), &failed))
}

// holderOf reads the PID in a lock file.
func holderOf(t *testing.T, lock string) (pid int) {
	t.Helper()
	content, err := os.ReadFile(lock)
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err = strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

func TestResult(t *testing.T) {
	output := "=== RUN   TestSuiteInGuest/A\n--- PASS: TestSuiteInGuest (1.0s)\n    --- PASS: TestSuiteInGuest/A (0.1s)\n" +
		"    --- SKIP: TestSuiteInGuest/B (0.1s)\n    --- PASS: TestSuiteInGuest/Processes/A (0.1s)\n"
	f := findings{increments: 7, publish: "link", subtests: passedIn(output)}
	file := filepath.Join(t.TempDir(), "nfs.json")
	f.row(versionOf("hard,vers=4.1")).write(t, file)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.JSONEq(t, `{"filesystem": "NFSv4.1 (nfs-ganesha), two machines", "exclusion": "yes",
		"crash": "at once on the same machine, after 30 s without a heartbeat on the other",
		"publish": "link", "result": "2 subtests, 7 increments"}`, string(content))
	require.Equal(t, "4", versionOf("hard"))
}

// The increments of several players are all there, in a file that other programs can read.
func TestIncrement(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counter")
	require.NoError(t, os.WriteFile(file, []byte("0"), 0o666))
	m := &machine{agent: agentHere(t)}
	c := &counters{file: file}
	for range 2 {
		a := m.player(t, "counter", filepath.Dir(file), pollEnv+"=5ms")
		c.actors = append(c.actors, a)
		for range countersEach {
			require.NoError(t, a.orders.Encode(order{Do: countUp, ID: "x", Times: 5, File: file}))
		}
	}
	c.wait(t)
	require.Equal(t, 2*countersEach*5, c.number(t))
	require.Error(t, increment(filepath.Join(t.TempDir(), "none")))
}
