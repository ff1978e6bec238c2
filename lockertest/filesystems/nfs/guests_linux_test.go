package nfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// site is two guests that have mounted one export of a server.
type site struct {
	server *ganesha
	guests [2]*machine
	findings
}

func newSite(t *testing.T) *site {
	t.Helper()
	needEverything(t)
	dir := t.TempDir()
	server := newGanesha(t, dir)
	server.start(t)
	kernel := unpackKernel(t, dir)
	images, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	require.NoError(t, err)
	require.NotEmpty(t, images, "no kernel in %s", kernel)
	c := bootConfig{
		kernel: images[len(images)-1], initramfs: filepath.Join(dir, "initramfs"), dir: dir,
		nfsPort: server.Port, mountOptions: *mountOpts,
	}
	f, err := os.Create(c.initramfs)
	require.NoError(t, err)
	require.NoError(t, initramfs(f, buildGuest(t, dir), kernel))
	require.NoError(t, f.Close())
	s := &site{server: server}
	for i, name := range []string{"guest1", "guest2"} {
		s.guests[i] = boot(t, c, name)
	}
	for _, g := range s.guests {
		g.await(t)
	}
	return s
}
