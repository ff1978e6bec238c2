//go:build unix

package mutex_test

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// obeySystem carries out the orders that not every system has.
func obeySystem(order string, args []string) any {
	switch order {
	case "umask":
		mask, _ := strconv.ParseInt(args[0], 8, 32)
		syscall.Umask(int(mask))
		return "ok"
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
