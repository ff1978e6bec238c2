//go:build linux

// Command bench measures this locker side by side with tusd's own ones, and with the system
// calls that no locker can do without. See README.md beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// measures lists all there are, in the order of the table.
func measures() []measure {
	return []measure{
		inProcess(),
		betweenProcesses(),
		killed(),
		uncontended(),
		systemCalls(),
		idle(),
		uploads(),
		largeUploads(),
		stalled(),
		directorySize(),
		folders(),
		leftovers(),
	}
}

func main() {
	if played, err := play(os.Getenv(roleVariable)); played {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := bench(ctx, os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are what the flags say.
type options struct {
	run    *regexp.Regexp
	scale  scale
	rounds int
	dir    string
	memDir string
	out    string
}

func parse(args []string, out io.Writer) (options, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	run := flags.String("run", "", "measure only what this `regexp` matches: "+strings.Join(names(measures()), ", "))
	short := flags.Bool("quick", false, "a tenth of the rounds, and shorter waits")
	rounds := flags.Int("rounds", 0, "rounds of each measure; 0 is each one's own")
	dir := flags.String("dir", ".", "directory on the file system to measure")
	memDir := flags.String("memdir", "/dev/shm", "directory on a file system without a disk; empty for none")
	to := flags.String("out", "bench", "`directory` for results.json, RESULTS.md and the plots")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	o := options{rounds: *rounds, dir: *dir, memDir: *memDir, out: *to}
	if *short {
		o.scale = quick
	}
	if o.memDir != "" {
		if info, err := os.Stat(o.memDir); err != nil || !info.IsDir() {
			fmt.Fprintf(out, "there is no directory %s: only one file system is measured\n", o.memDir)
			o.memDir = ""
		}
	}
	var err error
	if o.run, err = regexp.Compile(*run); err != nil {
		return options{}, fmt.Errorf("-run: %w", err)
	}
	return o, nil
}

func names(all []measure) (names []string) {
	for _, m := range all {
		names = append(names, m.name)
	}
	return names
}

// bench measures and writes what came out.
func bench(ctx context.Context, args []string, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	r, err := o.measure(ctx, measures(), progress)
	if len(r.Outcomes) > 0 {
		err = errors.Join(err, r.write(o.out))
	}
	return err
}

// measure goes on with the other measures when one fails: the run takes long, and the report says which
// is missing. It ends with ctx.
func (o options) measure(ctx context.Context, all []measure, progress io.Writer) (*report, error) {
	r := &report{Machine: describeMachine(o), Date: time.Now().UTC().Truncate(time.Second), Quick: o.scale != full}
	say := newTicker(progress)
	var errs []error
	for _, m := range all {
		if !o.run.MatchString(m.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(progress, "%s: %s\n", m.name, m.title)
		e := &env{scale: o.scale, rounds: o.rounds, dir: o.dir, memDir: o.memDir, progress: say}
		out, err := m.run(ctx, e)
		if err != nil {
			fmt.Fprintf(progress, "  failed: %v\n", err)
			errs = append(errs, err)
			r.Missing = append(r.Missing, m.name)
			continue
		}
		out.print(progress)
		r.Outcomes = append(r.Outcomes, out)
	}
	r.Seconds = time.Since(r.Date).Seconds()
	return r, errors.Join(append(errs, ctx.Err())...)
}

// newTicker says now and then how far things are.
func newTicker(out io.Writer) func(string) {
	var last time.Time
	return func(what string) {
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			fmt.Fprintln(out, "  ...", what)
		}
	}
}
