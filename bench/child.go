//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// roleVariable makes this program play a part in a measure.
const roleVariable = "TUSD_FILELOCK_BENCH_ROLE"

// patience is after what time a child that says nothing is taken to hang.
const patience = 90 * time.Second

// child is a process that a measure has started. It ends with its standard input.
type child struct {
	cmd    *exec.Cmd
	orders *json.Encoder
	stdin  io.Closer
	lines  <-chan string // what it says; closed when it has ended and been waited for
}

func startChild(cmd *exec.Cmd) (*child, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a child: %w", err)
	}
	// A child that has been killed is to be waited for at once: to the stock locker, one that
	// has not been is alive.
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			lines <- strings.TrimSuffix(line, "\n")
		}
		_ = cmd.Wait()
	}()
	return &child{cmd: cmd, orders: json.NewEncoder(stdin), stdin: stdin, lines: lines}, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill kills the process and returns when it is gone.
func (c *child) kill() error {
	_ = c.cmd.Process.Kill()
	for range c.lines {
	}
	_ = c.stdin.Close()
	return nil
}

// end waits until the process has done what it was told and has ended.
func (c *child) end() error {
	_ = c.stdin.Close()
	watchdog := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer watchdog.Stop()
	for range c.lines {
	}
	if s := c.cmd.ProcessState; !s.Success() {
		return fmt.Errorf("a child ended with %v", s)
	}
	return nil
}

func (c *child) tell(o order) error {
	if err := c.orders.Encode(o); err != nil {
		return fmt.Errorf("tell a child: %w", err)
	}
	return nil
}

// line waits for the next line that contains text, and returns what follows.
func (c *child) line(text string) (string, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case line, running := <-c.lines:
			if !running {
				return "", fmt.Errorf("a child has ended: %v", c.cmd.ProcessState)
			}
			if _, rest, ok := strings.Cut(line, text); ok {
				return strings.TrimSpace(rest), nil
			}
		case <-timeout.C:
			return "", fmt.Errorf("a child does not say %q", text)
		}
	}
}

// next waits for the next event. One with an error is returned as an error.
func (c *child) next() (event, error) {
	line, err := c.line("")
	if err != nil {
		return event{}, err
	}
	var ev event
	if err := json.Unmarshal([]byte(line), &ev); err != nil {
		return event{}, fmt.Errorf("a child says %q: %w", line, err)
	}
	if ev.Err != "" {
		return ev, fmt.Errorf("%s %s: %s", ev.What, ev.ID, ev.Err)
	}
	return ev, nil
}

// do gives an order and waits for the answer to it.
func (c *child) do(o order) (event, error) {
	if err := c.tell(o); err != nil {
		return event{}, err
	}
	return c.next()
}
