package integration_test

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// compose is what the tests look at in docker-compose.yml.
type compose struct {
	Services map[string]struct {
		Build     string
		Image     string
		Command   []string
		Init      bool
		Pid       string
		Volumes   []string
		Ports     []string
		DependsOn []string `yaml:"depends_on"`
	}
	Volumes map[string]any
}

// The files that make up the deployment name each other's hosts, ports and paths.
func TestComposeFilesAgree(t *testing.T) {
	var c compose
	require.NoError(t, yaml.Unmarshal([]byte(shipped(t, "docker-compose.yml")), &c))
	dockerfile, conf := shipped(t, "Dockerfile"), shipped(t, "nginx.conf")

	upstreams := regexp.MustCompile(`(?m)^\s+server ([\w-]+):(\d+)`).FindAllStringSubmatch(conf, -1)
	require.Len(t, upstreams, 2)
	for _, u := range upstreams {
		s, ok := c.Services[u[1]]
		require.True(t, ok, "nginx.conf names %s", u[1])
		require.Equal(t, ".", s.Build)
		require.Contains(t, dockerfile, "EXPOSE "+u[2])
		require.Contains(t, c.Services["proxy"].DependsOn, u[1])
		require.False(t, s.Init, "the server itself is to be PID 1")
		require.Empty(t, s.Pid, "a PID namespace of its own")
		require.Contains(t, s.Command, "-behind-proxy")
		require.Equal(t, c.Services["tusd-1"].Volumes, s.Volumes, "one volume for all")

		volume, target, _ := strings.Cut(s.Volumes[0], ":")
		require.Contains(t, c.Volumes, volume)
		require.Contains(t, strings.Join(s.Command, " "), "-upload-dir "+target)
		require.Contains(t, dockerfile, `VOLUME ["`+target+`"]`)
		require.Contains(t, dockerfile, "mkdir -p /out/rootfs"+target)
	}

	proxy := c.Services["proxy"]
	source, target, _ := strings.Cut(strings.TrimSuffix(proxy.Volumes[0], ":ro"), ":")
	require.FileExists(t, path.Join("..", source))
	require.Equal(t, "/etc/nginx/conf.d/default.conf", target)
	_, inside, _ := strings.Cut(proxy.Ports[0], ":")
	require.Contains(t, conf, "listen "+inside+";")
}

// The image is empty but for a static binary, and runs as an ordinary user.
func TestDockerfile(t *testing.T) {
	dockerfile := shipped(t, "Dockerfile")
	_, last, ok := strings.Cut(dockerfile, "\nFROM scratch\n")
	require.True(t, ok)
	require.Contains(t, dockerfile, "CGO_ENABLED=0 go build")
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(last)
	require.NotNil(t, user)
	require.NotEqual(t, "0", user[1])
	require.Contains(t, last, "COPY --from=build --chown="+user[1]+":"+user[2]+" /out/rootfs/ /")
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT \["(.+)"\]$`).FindStringSubmatch(last)
	require.NotNil(t, entry)
	require.Contains(t, last, "COPY --from=build /out/tusd-filelock "+entry[1])
	goMod := shipped(t, "go.mod")
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(goMod)[1]
	have := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)-alpine`).FindStringSubmatch(dockerfile)[1]
	require.GreaterOrEqual(t, have, want, "the image's Go is too old for go.mod")
}

// nginx accepts its configuration.
func TestNginxConfiguration(t *testing.T) {
	cmd := nginxCommand(t, "unix:"+t.TempDir()+"/listen", "127.0.0.1:1", "127.0.0.1:2", "-t", "-q")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out), "warnings")
}

// Compose accepts the file. Its command line checks one without an engine.
func TestDockerComposeConfig(t *testing.T) {
	compose := []string{"docker", "compose"}
	if exec.Command("docker", "compose", "version").Run() != nil {
		_, err := exec.LookPath("docker-compose")
		need(t, "docker compose, or docker-compose", err == nil)
		compose = []string{"docker-compose"}
	}
	args := append(compose[1:], "-f", "../docker-compose.yml", "config", "-q")
	out, err := exec.Command(compose[0], args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func shipped(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(path.Join("..", name))
	require.NoError(t, err)
	return string(data)
}
