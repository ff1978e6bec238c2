package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runtimes is a container engine for one test: runc with one image and one shared directory.
type runtimes struct {
	t     *testing.T
	state string
	root  string // of the containers, read-only
	dir   string // of the uploads
}

// containerized is a server that is PID 1 of a container.
type containerized struct {
	*server
	of *runtimes
	id string
}

func newRuntimes(t *testing.T) *runtimes {
	t.Helper()
	needRoot(t)
	_, err := exec.LookPath("runc")
	need(t, "runc", err == nil)
	if raceServer() {
		t.Skip("the race detector needs a C library, which is not in the image")
	}
	r := &runtimes{t: t, state: t.TempDir(), root: openDir(t), dir: openDir(t)}
	for _, sub := range []string{"proc", "tmp", "uploads"} {
		require.NoError(t, os.Mkdir(filepath.Join(r.root, sub), 0o755))
	}
	copyFile(t, *serverBinary, filepath.Join(r.root, "server"))
	// Something that the machine lacks, such as cgroups, shows with the first container.
	out, err := r.command("run", "--bundle", r.bundle("probe", "/server", "-version"), r.unique("probe")).CombinedOutput()
	need(t, fmt.Sprintf("the right to run containers: %s", out), err == nil)
	return r
}

func (r *runtimes) command(verb string, args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", r.state, verb}, args...)...)
}

// unique is what the machine knows a container by, other tests included.
func (r *runtimes) unique(name string) string {
	return fmt.Sprintf("filelock-%d-%s", os.Getpid(), name)
}

// bundle describes a container: its own PID, mount, UTS and IPC namespaces, an ordinary user,
// and the machine's network, so that the test reaches its server.
func (r *runtimes) bundle(hostname string, argv ...string) string {
	r.t.Helper()
	type object = map[string]any
	mount := func(to, kind, from string, options ...string) object {
		return object{"destination": to, "type": kind, "source": from, "options": options}
	}
	config, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"hostname":   hostname,
		"root":       object{"path": r.root, "readonly": true},
		"process":    object{"user": object{"uid": 1000, "gid": 1000}, "cwd": "/", "args": argv, "noNewPrivileges": true},
		"mounts": []object{
			mount("/proc", "proc", "proc"), mount("/tmp", "tmpfs", "tmpfs"), mount("/uploads", "bind", r.dir, "rbind", "rw"),
		},
		"linux": object{"namespaces": []object{{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}}},
	})
	require.NoError(r.t, err)
	dir := r.t.TempDir()
	require.NoError(r.t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644))
	return dir
}

// start runs a server in a container and waits until it takes uploads.
func (r *runtimes) start(name string, args ...string) *containerized {
	r.t.Helper()
	argv := append([]string{"/server", "-host", "127.0.0.1", "-port", "0", "-upload-dir", "/uploads"}, args...)
	c := &containerized{of: r, id: r.unique(name)}
	cmd := r.command("run", "--bundle", r.bundle(name, argv...), c.id)
	p := startProcess(r.t, "container "+name, cmd)
	r.t.Cleanup(func() { _ = r.command("delete", "--force", c.id).Run() })
	c.server = &server{process: p, dir: r.dir, url: p.line(r.t, "You can now upload files to: ")}
	return c
}

// do has runc do something to the container.
func (c *containerized) do(verb string, args ...string) {
	c.of.t.Helper()
	out, err := c.of.command(verb, append([]string{c.id}, args...)...).CombinedOutput()
	require.NoError(c.of.t, err, "runc %s: %s", verb, out)
}

// shoot is kill -9 for everything in the container.
func (c *containerized) shoot() {
	c.of.t.Helper()
	c.do("kill", "KILL")
	c.wait(c.of.t) // runc removes the container then
}

// Two containers share a directory. A live one hands over, a killed one's lock is the other
// one's at once, and its successor of the same name starts over a lock that it has left.
func TestContainersOfRunc(t *testing.T) {
	r := newRuntimes(t)
	one, two := r.start("one"), r.start("two")
	uploads := []*upload{handOver(t, r.dir, one.url, two.url), handOver(t, r.dir, two.url, one.url)}
	for round := range 3 {
		first, second := create(t, one.url, content(uint64(round), 256<<10)), create(t, two.url, content(uint64(10+round), 256<<10))
		uploads = append(uploads, first, second)
		for _, u := range []*upload{first, second} {
			stall(t, one.url, u, 0, 100<<10)
			u.awaitSize(t, r.dir, 100<<10)
			left, err := os.ReadFile(u.file(r.dir) + ".lock")
			require.NoError(t, err)
			require.Regexp(t, `^1\n`, string(left), "the server must be PID 1")
		}
		one.shoot()
		require.Equal(t, 100<<10, resume(t, two.url, first))
		first.finish(t, two.url, r.dir)

		require.FileExists(t, second.file(r.dir)+".lock")
		one = r.start("one")
		require.Equal(t, 100<<10, resume(t, one.url, second))
		second.finish(t, one.url, r.dir)
	}
	requireClean(t, r.dir, uploads...)
}

// Clients send the same upload to two containers at once. One of them writes it, or one after
// the other, but never both.
func TestOneWriterAmongContainersOfRunc(t *testing.T) {
	r := newRuntimes(t)
	one, two := r.start("one"), r.start("two")
	var uploads []*upload
	var answers []string
	for round := range 4 {
		u := create(t, one.url, content(uint64(round), 8<<20))
		uploads = append(uploads, u)
		got := make(chan answer, 6)
		for i := range cap(got) {
			go func() {
				// Who is refused may be cut off before it has read why.
				a, _ := patch(t.Context(), []*containerized{one, two}[i%2].url+u.id, 0, u.data)
				got <- a
			}()
		}
		for range cap(got) {
			a := <-got
			answers = append(answers, strconv.Itoa(a.status)+a.code)
		}
		u.finish(t, two.url, r.dir)
	}
	slices.Sort(answers)
	t.Log("answers:", slices.Compact(answers))
	requireClean(t, r.dir, uploads...)
}

// All containers are killed, as by a power cut, and the first one that comes back goes on.
func TestAllContainersOfRuncDie(t *testing.T) {
	r := newRuntimes(t)
	var uploads []*upload
	for i := range 2 {
		c := r.start("one")
		u := create(t, c.url, content(uint64(i), 256<<10))
		uploads = append(uploads, u)
		stall(t, c.url, u, 0, 100<<10)
		u.awaitSize(t, r.dir, 100<<10)
		c.shoot()
	}
	c := r.start("one")
	for _, u := range uploads {
		require.Equal(t, 100<<10, resume(t, c.url, u))
		u.finish(t, c.url, r.dir)
	}
	requireClean(t, r.dir, uploads...)
}

// A paused container is not dead. Its PATCH goes on with it.
func TestPausedContainerOfRunc(t *testing.T) {
	r := newRuntimes(t)
	one, two := r.start("one"), r.start("two", "-acquire-lock-timeout", "1s")
	u := create(t, one.url, content(1, 256<<10))
	s := stall(t, one.url, u, 0, 100<<10)
	u.awaitSize(t, r.dir, 100<<10)
	out, err := r.command("pause", one.id).CombinedOutput()
	need(t, fmt.Sprintf("a freezer: %s", out), err == nil)
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(u.file(r.dir)+".lock", past, past))
	a, err := patch(t.Context(), two.url+u.id, 100<<10, u.data[100<<10:])
	require.NoError(t, err)
	require.Equal(t, "ERR_LOCK_TIMEOUT", a.code, "%v", a)
	require.Equal(t, 100<<10, u.size(r.dir), "two wrote to one upload")
	one.do("resume")

	require.NoError(t, s.send(u.data[100<<10:]))
	a, err = s.answer()
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, a.status, "%v", a)
	u.requireComplete(t, r.dir)
	requireClean(t, r.dir, u)
}
