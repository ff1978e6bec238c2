package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nginx runs the shipped configuration. Only the addresses differ: the proxy's and those of
// the two servers behind it.
type nginx struct {
	*process
	url string // of the uploads
}

// startNginx starts the proxy in front of the servers.
func startNginx(t testing.TB, one, two *server) *nginx {
	t.Helper()
	// nginx cannot be told to listen on any free port. One that was free may be taken when
	// nginx comes for it; then another is tried.
	for range 10 {
		address := freeAddress(t)
		cmd := nginxCommand(t, address, one.address(), two.address())
		configure(cmd, launch{})
		n := &nginx{startProcess(t, "nginx", cmd), "http://" + address + "/files/"}
		if n.listens(t, address) {
			return n
		}
	}
	t.Fatal("nginx finds no free port")
	return nil
}

// listens waits until nginx answers there, or has ended because somebody else does.
func (n *nginx) listens(t testing.TB, address string) bool {
	t.Helper()
	ended := false
	await(t, "nginx", func() bool {
		select {
		case <-n.done:
			ended = true
			return true
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return !ended
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// nginxCommand writes the configuration and returns nginx on it, in the foreground.
func nginxCommand(t testing.TB, listen, one, two string, flags ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		// Debian keeps it where ordinary users do not look.
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	need(t, "nginx", err == nil)
	dir := t.TempDir()
	shipped, err := os.ReadFile("../nginx.conf")
	require.NoError(t, err)
	conf := string(shipped)
	for from, to := range map[string]string{
		"listen 80;":          "listen " + listen + ";",
		"server tusd-1:8080 ": "server " + one + " ",
		"server tusd-2:8080 ": "server " + two + " ",
	} {
		require.Equal(t, 1, strings.Count(conf, from), "%q in nginx.conf", from)
		conf = strings.Replace(conf, from, to, 1)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "\t%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	// Around it stands what the image's own nginx.conf has.
	main := fmt.Sprintf("%s\ndaemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr notice;\n"+
		"events {}\nhttp {\n\taccess_log /dev/stderr;\n%s%s}\n", user, dir, temp.String(), conf)
	file := filepath.Join(dir, "main.conf")
	require.NoError(t, os.WriteFile(file, []byte(main), 0o600))
	return exec.Command(program, append([]string{"-p", dir, "-e", "stderr", "-c", file}, flags...)...)
}

// address is where the server listens.
func (s *server) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/files/")
}

// The stalled PATCH and the requests after it reach the servers in turn: the hand-over is
// now within one server, now between the two.
func TestStalledPatchThroughNginx(t *testing.T) {
	dir := t.TempDir()
	a, b := startServer(t, dir, args("-behind-proxy")), startServer(t, dir, args("-behind-proxy"))
	proxy := startNginx(t, a, b)
	var uploads []*upload
	for range 6 {
		uploads = append(uploads, handOver(t, dir, proxy.url, proxy.url))
	}
	requireClean(t, dir, uploads...)
	for _, s := range []*server{a, b} {
		require.Contains(t, s.out.String(), "ChunkWriteStart", "a server that nginx never asked")
	}
}

// A new upload's URL is the proxy's, not a server's own.
func TestLocationThroughNginx(t *testing.T) {
	dir := t.TempDir()
	a, b := startServer(t, dir, args("-behind-proxy")), startServer(t, dir, args("-behind-proxy"))
	proxy := startNginx(t, a, b)
	answer, err := request(t.Context(), http.MethodPost, proxy.url, nil, "Upload-Length", "5")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(answer.url, proxy.url), answer.url)
}
