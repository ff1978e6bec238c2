package nfs_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A relay stands in one guest for a process in the other. What is done to the relay, killing
// and stopping included, is done to that process. It is a process of its own with a worker
// below it, which sees what happens to the relay.

// runRelay starts the worker and waits for it.
func runRelay() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	cmd := exec.Command(self())
	cmd.Env = append(os.Environ(), roleEnv+"="+workerRole)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{read}
	if err = cmd.Start(); err != nil {
		return err
	}
	read.Close()
	return cmd.Wait()
}

// relayAlive is a pipe that ends with the relay.
const relayAlive = 3

// runWorker carries the bytes. It ends after the process in the other guest.
func runWorker() error {
	addr, role := os.Getenv(relayEnv), os.Getenv(relayedEnv)
	r, err := startRemote(addr, command{Env: []string{roleEnv + "=" + role, dirEnv + "=" + os.Getenv(dirEnv)}}, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(r, os.Stdin)
		r.closeInput()
	}()
	dead := make(chan struct{})
	go func() {
		defer close(dead)
		_, _ = io.Copy(io.Discard, os.NewFile(relayAlive, "relay"))
	}()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for stopped := false; ; {
		select {
		case <-r.gone:
			return r.err
		case <-dead:
			r.kill()
			return nil
		case <-ticker.C:
			if now := isStopped(os.Getppid()); now != stopped {
				stopped = now
				r.signal(map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[now])
			}
		}
	}
}

// isStopped reads the state of a process, which follows its command in parentheses (proc(5)).
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T"))
}

func self() string {
	exe, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return exe
}
