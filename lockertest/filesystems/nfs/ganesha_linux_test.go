package nfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"
)

// serverConfig is for an NFSv4 server that only this machine reaches and that touches nothing
// outside its own directories. Guests come from 127.0.0.1 too, through QEMU.
var serverConfig = template.Must(template.New("ganesha.conf").Parse(`
NFS_CORE_PARAM {
	NFS_Protocols = 4;
	NFS_Port = {{.Port}};
	Bind_addr = 127.0.0.1;
	Enable_NLM = false;
	Enable_RQUOTA = false;
	Plugins_Dir = "{{.Plugins}}";
}
NFSV4 {
	Minor_Versions = 1, 2;
	Lease_Lifetime = {{.Lease}};
	Grace_Period = {{.Grace}};
	Delegations = false;
	Allow_Numeric_Owners = true;
	Only_Numeric_Owners = true;
	RecoveryBackend = fs;
	RecoveryRoot = "{{.State}}";
}
EXPORT_DEFAULTS { Transports = TCP; SecType = sys; Squash = No_Root_Squash; }
EXPORT {
	Export_Id = 1;
	Path = "{{.Dir}}";
	Pseudo = "{{.Pseudo}}";
	Access_Type = RW;
	FSAL { Name = VFS; }
}
LOG { Default_Log_Level = EVENT; }
`))

// ganesha is an NFS server on a directory of this machine.
type ganesha struct {
	Port         int
	Dir          string // exported
	State        string // what it remembers of its clients
	Plugins      string
	Pseudo       string // the name of the export
	Lease, Grace int    // seconds
	conf, log    string
	kill         func()
	t            testing.TB // at whose end it is killed, which is not that of a subtest
}

// newGanesha returns a server, not started yet, that keeps its files in dir.
func newGanesha(t testing.TB, dir string) *ganesha {
	g := &ganesha{
		t:    t,
		Port: freePort(t), Dir: filepath.Join(dir, "export"), State: filepath.Join(dir, "state"), Pseudo: exportPath,
		Lease: 20, Grace: 20, conf: filepath.Join(dir, "ganesha.conf"), log: filepath.Join(dir, "ganesha.log"),
		Plugins: pluginDir(),
	}
	require.NoError(t, os.Mkdir(g.Dir, 0o777))
	require.NoError(t, os.Mkdir(g.State, 0o777))
	conf, err := g.config()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(g.conf, []byte(conf), 0o666))
	return g
}

func (g *ganesha) config() (string, error) {
	var text strings.Builder
	err := serverConfig.Execute(&text, g)
	return text.String(), err
}

// start starts the server and returns when it answers.
func (g *ganesha) start(t testing.TB) {
	t.Helper()
	pid := filepath.Join(filepath.Dir(g.conf), "ganesha.pid")
	cmd := exec.Command("ganesha.nfsd", "-F", "-f", g.conf, "-L", g.log, "-p", pid, "-N", "NIV_EVENT")
	cmd.Stderr = os.Stderr
	g.kill = startChild(g.t, cmd)
	if err := awaitPort(fmt.Sprintf("127.0.0.1:%d", g.Port), time.Minute); err != nil {
		log, _ := os.ReadFile(g.log)
		t.Fatalf("ganesha.nfsd does not start: %v\n%s", err, log)
	}
}

// pluginDir is where the server's package keeps its file system modules.
func pluginDir() string {
	found, _ := filepath.Glob("/usr/lib/*/ganesha")
	if len(found) == 0 {
		return "/usr/lib/ganesha"
	}
	return found[0]
}
