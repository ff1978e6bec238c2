package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// address is what to listen on, as it was asked for.
func address(cfg *config) string {
	if cfg.unixSock != "" {
		return cfg.unixSock
	}
	host := strings.TrimSuffix(strings.TrimPrefix(cfg.host, "["), "]")
	return net.JoinHostPort(host, cfg.port)
}

// listen opens the listener that the flags ask for. Its errors name the address.
func listen(cfg *config) (net.Listener, error) {
	if cfg.unixSock == "" {
		return net.Listen("tcp", address(cfg))
	}
	if err := removeStaleSocket(cfg.unixSock); err != nil {
		return nil, fmt.Errorf("listen unix %s: %w", cfg.unixSock, err)
	}
	return net.Listen("unix", cfg.unixSock)
}

// removeStaleSocket removes the socket that a killed server left behind, and
// nothing else: neither another kind of file nor a socket that is answered.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
