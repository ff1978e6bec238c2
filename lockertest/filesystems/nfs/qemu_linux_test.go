package nfs_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bootTime is how long a guest may take to boot. Emulation on a busy machine is slow.
const bootTime = 5 * time.Minute

// machine is a guest.
type machine struct {
	name  string
	agent string // where to reach the agent from here
	port  int    // the port of that, which a guest reaches at hostAddr
	log   string // what its console says
	qmp   *monitor
}

// bootConfig is what guests have in common.
type bootConfig struct {
	kernel, initramfs, dir string
	nfsPort                int
	mountOptions           string
}

// boot starts a guest. It is killed when the test ends, and when this process does.
func boot(t testing.TB, c bootConfig, name string) *machine {
	m := &machine{name: name, port: freePort(t), log: filepath.Join(c.dir, name+".log")}
	m.agent = fmt.Sprintf("127.0.0.1:%d", m.port)
	cmd := exec.Command("qemu-system-x86_64", m.args(c)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	startChild(t, cmd)
	m.qmp = &monitor{to: json.NewEncoder(in), from: json.NewDecoder(bufio.NewReader(out))}
	require.NoError(t, m.qmp.greet(), "QEMU's monitor")
	return m
}

func (m *machine) args(c bootConfig) []string {
	env := []string{
		guestEnv + "=" + m.name, fmt.Sprintf("%s=%d", nfsPortEnv, c.nfsPort),
		nfsOptsEnv + "=" + c.mountOptions, roleEnv + "=" + guestRole,
	}
	return []string{
		"-accel", "tcg", "-machine", "pc", "-cpu", "max", "-smp", "1", "-m", "640",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-qmp", "stdio", "-serial", "file:" + m.log,
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:%s-:%d", m.agent, agentPort),
		"-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
		"-kernel", c.kernel, "-initrd", c.initramfs,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off " + strings.Join(env, " "),
	}
}

// await waits until the guest's agent runs.
func (m *machine) await(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(bootTime); ; time.Sleep(100 * time.Millisecond) {
		console, _ := os.ReadFile(m.log)
		if strings.Contains(string(console), "guest is ready") {
			return
		}
		if time.Now().After(end) || strings.Contains(string(console), "panic") {
			t.Fatalf("%s does not boot:\n%s", m.name, console)
		}
	}
}

// freeze stops the whole guest, as suspending it would, until thaw.
func (m *machine) freeze(t testing.TB) {
	t.Helper()
	require.NoError(t, m.qmp.execute("stop"))
}

func (m *machine) thaw(t testing.TB) {
	t.Helper()
	require.NoError(t, m.qmp.execute("cont"))
}

// monitor speaks QEMU's machine protocol (docs/interop/qmp-spec).
type monitor struct {
	mu   sync.Mutex
	to   *json.Encoder
	from *json.Decoder
}

func (q *monitor) greet() error {
	var greeting map[string]any
	if err := q.from.Decode(&greeting); err != nil {
		return err
	}
	return q.execute("qmp_capabilities")
}

func (q *monitor) execute(what string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.to.Encode(map[string]string{"execute": what}); err != nil {
		return err
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := q.from.Decode(&answer); err != nil {
			return err
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", what, answer.Error.Desc)
		case answer.Return != nil: // what is neither is an event
			return nil
		}
	}
}

// startChild starts a process that ends with the test, and with this process even if that is
// killed. It returns a function that kills the process and waits for its end.
func startChild(t testing.TB, cmd *exec.Cmd) (kill func()) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, over := make(chan error), make(chan struct{})
	quit := make(chan struct{})
	// The signal comes when the parent's thread ends (prctl(2), PR_SET_PDEATHSIG), which must
	// therefore not happen before the child's end.
	go func() {
		defer close(over)
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-quit:
			_ = cmd.Process.Kill()
			<-ended
		case err := <-ended:
			t.Errorf("%s has ended: %v", cmd.Path, err)
			fmt.Fprintln(os.Stderr, cmd.Path, "has ended:", err) // the test waits in vain now
		}
	}()
	require.NoError(t, <-started)
	kill = sync.OnceFunc(func() {
		close(quit)
		<-over
	})
	t.Cleanup(kill)
	return kill
}

// freePort is a port of 127.0.0.1 that nobody listens on now. The servers here cannot say
// which one they have chosen themselves.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// awaitPort waits until somebody listens there.
func awaitPort(addr string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return errors.Join(errors.New("nobody listens"), err)
		}
	}
}
