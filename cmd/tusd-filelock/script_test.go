package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript plays the transcripts in testdata/script.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values[scriptServerKey{}] = &scriptServer{test: t}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":     serveCommand,
			"request":   requestCommand,
			"terminate": terminateCommand,
		},
	})
}

// scriptServer is the server of one script.
type scriptServer struct {
	test *testing.T
	cmd  *exec.Cmd
	out  *output
}

type scriptServerKey struct{}

// serveCommand runs the program with the given flags, waits for its last
// start-up line, and sets $URL and $PORT.
func serveCommand(ts *testscript.TestScript, _ bool, flags []string) {
	s := ts.Value(scriptServerKey{}).(*scriptServer)
	exe, err := os.Executable()
	ts.Check(err)
	s.out = newOutput()
	s.cmd = exec.Command(exe, flags...)
	s.cmd.Args[0] = program
	s.cmd.Dir = ts.Getenv("WORK")
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	ts.Check(s.cmd.Start())
	ts.Defer(func() { s.cmd.Process.Kill() })
	ts.Setenv("URL", s.out.find(s.test, `You can now upload files to: (\S+)`))
	ts.Setenv("PORT", s.out.find(s.test, `You can now upload files to: \w+://[^/]+:(\d+)/`))
}

// terminateCommand sends SIGTERM and prints what the server has written.
func terminateCommand(ts *testscript.TestScript, _ bool, _ []string) {
	s := ts.Value(scriptServerKey{}).(*scriptServer)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(s.cmd.Wait())
	io.WriteString(ts.Stdout(), s.out.String())
}

// requestCommand sends a request, prints the answer, and sets $LOCATION:
//
//	request METHOD URL ['Name: value'...] [BODY]
func requestCommand(ts *testscript.TestScript, _ bool, args []string) {
	var body io.Reader
	headers := args[2:]
	if n := len(headers); n > 0 && !strings.Contains(headers[n-1], ": ") {
		body = strings.NewReader(headers[n-1])
		headers = headers[:n-1]
	}
	req, err := http.NewRequest(args[0], args[1], body)
	ts.Check(err)
	req.Close = true
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	fmt.Fprintln(ts.Stdout(), res.Status)
	ts.Check(res.Header.Write(ts.Stdout()))
	fmt.Fprintln(ts.Stdout())
	_, err = io.Copy(ts.Stdout(), res.Body)
	ts.Check(err)
	ts.Setenv("LOCATION", res.Header.Get("Location"))
}
