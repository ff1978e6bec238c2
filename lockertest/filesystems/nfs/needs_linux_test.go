package nfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// needEverything skips the test unless -nfs is given, and then fails it if something is
// missing, with the names of all Debian packages that have it.
func needEverything(t testing.TB) {
	t.Helper()
	if !*withNFS {
		t.Skip("two virtual machines and an NFS server: only with -args -nfs")
	}
	if lacks := missing(runtime.GOARCH, os.Getuid(), exec.LookPath, pluginDir()); len(lacks) > 0 {
		t.Fatalf("missing: %s", strings.Join(lacks, "; "))
	}
}

// missing lists what is not there.
func missing(arch string, uid int, lookPath func(string) (string, error), plugins string) (lacks []string) {
	if arch != "amd64" {
		lacks = append(lacks, "an amd64 machine")
	}
	if uid != 0 {
		lacks = append(lacks, "root, which the NFS server needs for file handles")
	}
	for _, tool := range []struct{ name, pkg string }{
		{"qemu-system-x86_64", "qemu-system-x86"}, {"ganesha.nfsd", "nfs-ganesha"}, {"dpkg-deb", "dpkg"},
	} {
		if _, err := lookPath(tool.name); err != nil {
			lacks = append(lacks, fmt.Sprintf("%s (Debian package %s)", tool.name, tool.pkg))
		}
	}
	if _, err := os.Stat(filepath.Join(plugins, "libfsalvfs.so")); err != nil {
		lacks = append(lacks, "the server's VFS module (Debian package nfs-ganesha-vfs)")
	}
	return lacks
}

// kernelPackage depends on the package of Debian's current kernel for virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// unpackKernel returns a directory with boot/vmlinuz-* and lib/modules of a kernel: the one of
// -kernel, or that of the package, which is downloaded and unpacked in dir but not installed.
func unpackKernel(t testing.TB, dir string) string {
	t.Helper()
	if *kernelDir != "" {
		return *kernelDir
	}
	out, err := exec.Command("apt-cache", "depends", "--no-recommends", "--no-suggests", kernelPackage).Output()
	require.NoError(t, err, "apt-cache")
	name := dependency(string(out))
	require.NotEmpty(t, name, "apt-cache knows no %s: run apt-get update", kernelPackage)
	cmd := exec.Command("apt-get", "download", name)
	cmd.Dir = dir
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "apt-get download %s: %s", name, out)
	packages, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	require.NoError(t, err)
	require.Len(t, packages, 1)
	unpacked := filepath.Join(dir, "kernel")
	out, err = exec.Command("dpkg-deb", "-x", packages[0], unpacked).CombinedOutput()
	require.NoError(t, err, "dpkg-deb: %s", out)
	return unpacked
}

// dependency finds the kernel's own package in the answer of apt-cache depends.
func dependency(answer string) string {
	for line := range strings.Lines(answer) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name
		}
	}
	return ""
}

// buildGuest builds this test as a program that needs no files besides itself.
func buildGuest(t testing.TB, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "test", "-c", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "go test -c: %s", out)
	return program
}
