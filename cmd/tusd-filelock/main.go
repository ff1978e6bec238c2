// Command tusd-filelock serves resumable uploads with tusd's protocol handler,
// stores them on disk, and locks them with the filelocker package.
// Its flags are those of tusd, less the ones for cloud storage; -help lists them.
//
// Exit status: 0 after -help, -version or a complete shutdown; 2 for wrong
// flags; 1 for everything else that went wrong.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const program = "tusd-filelock"

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	// Room for two: the second signal has a meaning of its own.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(os.Args[1:], stdio{os.Stdout, os.Stderr}, signals))
}

// stdio is where the program writes: its log, and its one line of complaint.
type stdio struct {
	out, err io.Writer
}

// run is the program without the process around it: it returns the exit status.
func run(args []string, std stdio, signals <-chan os.Signal) int {
	cfg, err := parseFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printHelp(std.out)
		return exitOK
	case err != nil:
		complain(std.err, fmt.Sprintf("%v (-help lists the flags)", err))
		return exitUsage
	case cfg.showVersion:
		fmt.Fprint(std.out, readVersion())
		return exitOK
	}
	// tusd ends the process by log.Fatal when it cannot talk to a hook plugin.
	log.SetFlags(0)
	log.SetOutput(complaints{std.err})
	if err := serve(cfg, newLogs(cfg, std.out), signals); err != nil {
		complain(std.err, err.Error())
		return exitFailure
	}
	return exitOK
}

// complain writes one line, whatever a flag or a path contains.
func complain(w io.Writer, message string) {
	message = strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(strings.TrimSpace(message))
	fmt.Fprintf(w, "%s: %s\n", program, message)
}

// complaints makes each write to a logger a complaint.
type complaints struct {
	w io.Writer
}

func (c complaints) Write(p []byte) (int, error) {
	complain(c.w, string(p))
	return len(p), nil
}
