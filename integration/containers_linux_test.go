package integration_test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// What docker-compose.yml describes, without a container engine: two servers, each PID 1 of
// namespaces of its own, in a read-only root with nothing but a static binary, under an
// ordinary user, with one directory in common, and nginx with the shipped configuration in
// front. The one that holds the lock is killed in the middle of a PATCH, and the client goes
// on through nginx.
func TestContainersBehindNginx(t *testing.T) {
	needRoot(t)
	if raceServer() {
		t.Skip("the race detector needs a C library, which is not in the image")
	}
	dir := openDir(t)
	servers := make([]*server, 2)
	for i, name := range []string{"tusd-1", "tusd-2"} {
		servers[i] = startServer(t, dir, contained(name), fromDockerfile(t, dir), args("-behind-proxy"))
	}
	proxy := startNginx(t, servers[0], servers[1])

	var uploads []*upload
	for round := range 4 {
		u := create(t, proxy.url, content(uint64(round), 512<<10))
		uploads = append(uploads, u)
		stall(t, proxy.url, u, 0, 200<<10)
		u.awaitSize(t, dir, 200<<10)

		holder := 0
		await(t, "the one that writes", func() bool {
			if servers[1].wrote(u.id) {
				holder = 1
			}
			return servers[holder].wrote(u.id)
		})
		servers[holder].kill(t)
		require.Equal(t, 200<<10, resume(t, proxy.url, u))
		u.finish(t, proxy.url, dir)
		servers[holder] = servers[holder].again(t)
	}
	requireClean(t, dir, uploads...)
}

// fromDockerfile makes a root directory with what the Dockerfile puts into the image, and
// has the server run in it under the image's user, on its volume.
func fromDockerfile(t *testing.T, dir string) option {
	t.Helper()
	dockerfile := shipped(t, "Dockerfile")
	find := func(pattern string) string {
		found := regexp.MustCompile(`(?m)^` + pattern).FindStringSubmatch(dockerfile)
		require.NotNil(t, found, pattern)
		return found[1]
	}
	entry, volume := find(`ENTRYPOINT \["(.+)"\]`), find(`VOLUME \["(.+)"\]`)
	uid, err := strconv.Atoi(find(`USER (\d+)`))
	require.NoError(t, err)

	root := openDir(t)
	for _, sub := range []string{"proc", volume, filepath.Dir(entry)} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, sub), 0o755))
	}
	copyFile(t, *serverBinary, filepath.Join(root, entry))
	return func(l *launch) {
		l.program, l.uid = entry, uid
		l.uploadDir = volume
		l.image = &image{Root: root, Data: dir, Volume: volume}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	require.NoError(t, err)
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(target, source)
	require.NoError(t, err)
	require.NoError(t, target.Close())
}
