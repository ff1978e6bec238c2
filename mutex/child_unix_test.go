//go:build unix

package mutex_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
)

func withEnv(env ...string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) }
}

// obeySystem carries out the orders that not every system has.
func (h *helper) obeySystem(order string, args []string) any {
	switch order {
	case "storm":
		return h.storm(args[0], args[1])
	case "umask":
		mask, _ := strconv.ParseInt(args[0], 8, 32)
		syscall.Umask(int(mask))
		return "ok"
	case "descriptors":
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		return len(open)
	case "spawn": // a child of its own, which lives until the pipe of descriptor 3 ends
		cmd := exec.Command("cat")
		cmd.Stdin = os.NewFile(3, "pipe")
		if err := cmd.Start(); err != nil {
			return err
		}
		return cmd.Process.Pid
	}
	return "what?"
}

// storm takes and gives back until it is killed. What it locks meanwhile is in its way if two
// hold the mutex, and not if the other one is dying: the kernel frees the record locks of a
// process first.
func (h *helper) storm(name, path string) error {
	witness, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer witness.Close()
	for {
		r, err := h.acquire(wallSpec(name))
		if err != nil {
			return err
		}
		for _, lock := range []int16{syscall.F_WRLCK, syscall.F_UNLCK} {
			if err := syscall.FcntlFlock(witness.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: lock}); err != nil {
				return fmt.Errorf("two hold it: %w", err)
			}
			runtime.Gosched()
		}
		r.Release()
		fmt.Println("held")
	}
}
