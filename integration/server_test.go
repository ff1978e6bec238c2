package integration_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// server is a running tus server, ours or stock tusd.
type server struct {
	*process
	dir     string
	url     string // of the uploads, with a slash at the end
	options []option
}

// launch says how a server is started.
type launch struct {
	name       string
	program    string
	args       []string
	env        []string
	hostname   string // not empty: PID 1 of its own PID, mount and UTS namespaces
	image      *image // not nil: the file system that it sees
	uid        int    // not 0: the user that the server runs as
	uploadDir  string // as the server sees it
	listenPort string
}

// image is a root directory, and where in it the uploads are mounted.
type image struct{ Root, Data, Volume string }

type option func(*launch)

// args appends flags to the server's command line.
func args(a ...string) option {
	return func(l *launch) { l.args = append(l.args, a...) }
}

const stockName = "stock tusd"

// stock makes it stock tusd instead of ours. It polls often, so that tests are quick.
func stock() option {
	return func(l *launch) {
		l.name, l.program = stockName, testBinary()
		l.env = append(l.env, roleVariable+"=stock")
		l.args = append(l.args, "-filelock-holder-poll-interval=50ms", "-filelock-acquirer-poll-interval=50ms")
	}
}

// testBinary is this very program, which can play others.
func testBinary() string {
	exe, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return exe
}

// contained runs the server as in a container: PID 1, with a host name of its own.
func contained(hostname string) option {
	return func(l *launch) { l.hostname = hostname }
}

// asUser runs the server as an ordinary user.
func asUser(uid int) option {
	return func(l *launch) { l.uid = uid }
}

// onPort makes the server listen there. Port 0, the default, takes a free one.
func onPort(port string) option {
	return func(l *launch) { l.listenPort = port }
}

// startServer starts a server on dir and waits until it takes uploads.
func startServer(t testing.TB, dir string, options ...option) *server {
	t.Helper()
	l := launch{name: "tusd-filelock", program: *serverBinary, uploadDir: dir, listenPort: "0"}
	for _, o := range options {
		o(&l)
	}
	argv := append([]string{"-host", "127.0.0.1", "-port", l.listenPort, "-upload-dir", l.uploadDir}, l.args...)
	cmd := exec.Command(l.program, argv...)
	cmd.Env = append(os.Environ(), l.env...)
	configure(cmd, l)
	p := startProcess(t, l.name, cmd)
	return &server{
		process: p,
		dir:     dir,
		url:     p.line(t, "You can now upload files to: "),
		options: options,
	}
}

// port is the one that the server listens on.
func (s *server) port(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	return u.Port()
}

// again starts a new server in the place of one that has ended: same options, same port.
func (s *server) again(t testing.TB) *server {
	t.Helper()
	return startServer(t, s.dir, append(s.options[:len(s.options):len(s.options)], onPort(s.port(t)))...)
}

// wrote tells whether this server has begun to write data of the upload.
func (s *server) wrote(id string) bool {
	for line := range strings.Lines(s.out.String()) {
		if strings.Contains(line, "ChunkWriteStart") && strings.Contains(line, id) {
			return true
		}
	}
	return false
}

// strangers lists the files in dir that are neither data nor info of these uploads.
func strangers(dir string, uploads ...*upload) ([]string, error) {
	known := make(map[string]bool)
	for _, u := range uploads {
		known[u.id], known[u.id+".info"] = true, true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var rest []string
	for _, e := range entries {
		if !known[e.Name()] {
			rest = append(rest, e.Name())
		}
	}
	return rest, nil
}

// requireClean waits until dir holds nothing but these uploads. A request's lock may go a
// moment after its answer; what was left behind stays.
func requireClean(t testing.TB, dir string, uploads ...*upload) {
	t.Helper()
	var seen string
	await(t, fmt.Sprintf("a clean directory %s", dir), func() bool {
		rest, err := strangers(dir, uploads...)
		require.NoError(t, err)
		if s := fmt.Sprint(rest); len(rest) > 0 && s != seen {
			t.Logf("still there: %v", rest)
			seen = s
		}
		return len(rest) == 0
	})
}

// requireNoLocks waits until dir holds only uploads, whichever they are.
func requireNoLocks(t testing.TB, dir string) {
	t.Helper()
	infos, err := filepath.Glob(filepath.Join(dir, "*.info"))
	require.NoError(t, err)
	uploads := make([]*upload, len(infos))
	for i, info := range infos {
		uploads[i] = &upload{id: strings.TrimSuffix(filepath.Base(info), ".info")}
	}
	requireClean(t, dir, uploads...)
}

// awaitFile waits until the file exists.
func awaitFile(t testing.TB, file string) {
	t.Helper()
	await(t, file, func() bool {
		_, err := os.Lstat(file)
		return err == nil
	})
}

func awaitNoFile(t testing.TB, file string) {
	t.Helper()
	await(t, file+" to go", func() bool {
		_, err := os.Lstat(file)
		return os.IsNotExist(err)
	})
}

// openDir is an upload directory that every user may write to.
func openDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "uploads")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Chmod(dir, 0o777))
	for parent := filepath.Dir(dir); parent != filepath.Clean(os.TempDir()); parent = filepath.Dir(parent) {
		require.NoError(t, os.Chmod(parent, 0o755))
	}
	return dir
}
