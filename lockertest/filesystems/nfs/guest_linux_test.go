package nfs_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// What a guest sees of QEMU's user networking.
const (
	hostAddr   = "10.0.2.2" // the host's own 127.0.0.1
	guestAddr  = "10.0.2.15"
	agentPort  = 7000
	exportPath = "/export" // the same path in a guest and on the server
)

// The environment of a guest's first process. The kernel makes it from its command line.
const (
	guestEnv   = "GUEST_NAME"
	nfsPortEnv = "NFS_PORT"
	nfsOptsEnv = "NFS_OPTIONS"
)

// runGuest is the first process of a guest. It returns only if something is wrong.
func runGuest() error {
	for _, step := range []func() error{mountSystem, loadModules, setUpNetwork, mountExport} {
		if err := step(); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", agentPort))
	if err != nil {
		return err
	}
	fmt.Println("guest is ready")
	return serveAgents(listener)
}

func mountSystem() error {
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"},
	} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return &os.PathError{Op: "mount", Path: m.dir, Err: err}
		}
	}
	return unix.Sethostname([]byte(os.Getenv(guestEnv)))
}

func loadModules() error {
	files, err := filepath.Glob("/modules/*.ko") // sorted
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "load", Path: name, Err: err}
		}
	}
	return nil
}

// setUpNetwork gives the first network card the address that QEMU expects. The host is on the
// same network, so that no route is needed.
func setUpNetwork() error {
	if err := bringUp("lo", ""); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := net.InterfaceByName("eth0")
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	return bringUp("eth0", guestAddr)
}

func bringUp(name, addr string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	card, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if addr != "" {
		// A bare address from 10.0.0.0/8 would bring that class's mask.
		for _, set := range []struct {
			request uint
			value   net.IP
		}{{unix.SIOCSIFADDR, net.ParseIP(addr)}, {unix.SIOCSIFNETMASK, net.IPv4(255, 255, 255, 0)}} {
			err := card.SetInet4Addr(set.value.To4())
			if err == nil {
				err = unix.IoctlIfreq(s, set.request, card)
			}
			if err != nil {
				return fmt.Errorf("address of %s: %w", name, err)
			}
		}
	}
	card.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, card); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

// mountExport waits for the end of the server's grace period if need be.
func mountExport() (err error) {
	options := fmt.Sprintf("%s,addr=%s,clientaddr=%s,port=%s", os.Getenv(nfsOptsEnv), hostAddr, guestAddr, os.Getenv(nfsPortEnv))
	for range 60 {
		if err = unix.Mount(hostAddr+":"+exportPath, exportPath, "nfs4", 0, options); err == nil {
			return nil
		}
		time.Sleep(time.Second)
	}
	return fmt.Errorf("mount with %s: %w", options, err)
}
