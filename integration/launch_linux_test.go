package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// configure prepares the start of a program. One in namespaces of its own is entered through
// the test binary, which does the rest of what a container runtime does.
func configure(cmd *exec.Cmd, l launch) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.SysProcAttr = attr
	if l.hostname == "" {
		if l.uid != 0 {
			attr.Credential = &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.uid)}
		}
		return
	}
	attr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS
	c := container{Hostname: l.hostname, UID: l.uid, Image: l.image, Argv: append([]string{l.program}, cmd.Args[1:]...)}
	for _, e := range l.env {
		if role, ok := strings.CutPrefix(e, roleVariable+"="); ok {
			c.Role = role
		}
	}
	plan, _ := json.Marshal(c) // strings and numbers: cannot fail
	cmd.Path, cmd.Args, cmd.Err = testBinary(), []string{testBinary(), string(plan)}, nil
	cmd.Env = append(cmd.Env, roleVariable+"=enter")
}

// container is what enter makes of the process.
type container struct {
	Hostname string
	UID      int
	Image    *image // nil: the test's own files
	Argv     []string
	Role     string // what the test binary plays in there
}

// enter finishes what clone(2) has begun, and executes the program.
func enter(argv []string) error {
	var c container
	if err := json.Unmarshal([]byte(strings.Join(argv, "")), &c); err != nil {
		return fmt.Errorf("enter: %w", err)
	}
	if os.Getpid() != 1 {
		return fmt.Errorf("enter: pid %d in the new namespace", os.Getpid())
	}
	// What follows belongs to a thread, up to execve(2).
	runtime.LockOSThread()
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	if err := c.mount(); err != nil {
		return err
	}
	if c.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(c.UID), syscall.Setuid(c.UID)); err != nil {
			return fmt.Errorf("become user %d: %w", c.UID, err)
		}
		// A change of user clears it, see prctl(2).
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("prctl: %w", err)
		}
	}
	if err := os.Setenv(roleVariable, c.Role); err != nil {
		return err
	}
	return syscall.Exec(c.Argv[0], c.Argv, os.Environ())
}

func (c container) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if c.Image == nil {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
		return nil
	}
	return c.Image.enter()
}

// enter makes the image the read-only root of this mount namespace.
func (i *image) enter() error {
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{i.Root, i.Root, "", unix.MS_BIND},
		{i.Data, filepath.Join(i.Root, i.Volume), "", unix.MS_BIND},
		{"proc", filepath.Join(i.Root, "proc"), "proc", 0},
		{"", i.Root, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
	}
	if err := unix.Chroot(i.Root); err != nil {
		return fmt.Errorf("chroot %s: %w", i.Root, err)
	}
	return os.Chdir("/")
}
