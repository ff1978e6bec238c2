package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tus/tusd/v2/pkg/hooks"
)

// check refuses what no server can be run with, and completes the rest.
func (c *config) check(all *flag.FlagSet) error {
	if err := checkNotNegative(all); err != nil {
		return err
	}
	for _, check := range []func() error{c.checkListening, c.checkTLS, c.checkPaths, c.checkText, c.checkPprof, c.hooks.check} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func checkNotNegative(all *flag.FlagSet) (err error) {
	all.VisitAll(func(f *flag.Flag) {
		getter, ok := f.Value.(flag.Getter)
		if !ok || err != nil {
			return
		}
		negative := false
		switch v := getter.Get().(type) {
		case time.Duration:
			negative = v < 0
		case int:
			negative = v < 0
		case int64:
			negative = v < 0
		}
		if negative {
			err = fmt.Errorf("invalid value %q for flag -%s: must not be negative", f.Value, f.Name)
		}
	})
	return err
}

func (c *config) checkListening() error {
	if c.unixSock != "" {
		return nil
	}
	if _, err := net.LookupPort("tcp", c.port); err != nil || c.port == "" {
		return fmt.Errorf("invalid value %q for flag -port: no such port", c.port)
	}
	return nil
}

func (c *config) checkTLS() error {
	if _, err := tlsConfig(c.tlsMode); err != nil {
		return fmt.Errorf("invalid value %q for flag -tls-mode: %w", c.tlsMode, err)
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return errors.New("flags -tls-certificate and -tls-key need each other")
	}
	if c.enableH2C && c.tlsCert != "" {
		return errors.New("flag -enable-h2c cannot be combined with -tls-certificate: TLS brings HTTP/2 by itself")
	}
	return nil
}

// checkPaths keeps http.ServeMux from panicking: on two handlers for one path,
// or on a path that it reads as a pattern.
func (c *config) checkPaths() error {
	if _, err := url.Parse(c.basePath); err != nil {
		return fmt.Errorf("invalid value %q for flag -base-path: not a URL path", c.basePath)
	}
	owner := map[string]string{}
	for _, p := range c.patterns() {
		if !strings.HasPrefix(p.path, "/") || strings.ContainsAny(p.path, "{} \t\r\n") {
			return fmt.Errorf("invalid value %q for flag -%s: not a URL path", p.path, p.flag)
		}
		if other, taken := owner[p.path]; taken {
			return fmt.Errorf("flags -%s and -%s both claim the path %q", other, p.flag, p.path)
		}
		owner[p.path] = p.flag
	}
	return nil
}

func (c *config) checkText() error {
	if _, err := regexp.Compile(c.cors.allowOrigin); err != nil {
		return fmt.Errorf("invalid value %q for flag -cors-allow-origin: %w", c.cors.allowOrigin, err)
	}
	if _, err := strconv.ParseUint(c.cors.maxAge, 10, 63); err != nil && c.cors.maxAge != "" {
		return fmt.Errorf("invalid value %q for flag -cors-max-age: not a number of seconds", c.cors.maxAge)
	}
	if c.logFormat != logText && c.logFormat != logJSON {
		return fmt.Errorf("invalid value %q for flag -log-format: must be text or json", c.logFormat)
	}
	return nil
}

func (c *config) checkPprof() error {
	auth := os.Getenv("TUSD_PPROF_AUTH")
	if !c.exposePprof || auth == "" {
		return nil
	}
	var ok bool
	if c.pprofUser, c.pprofSecret, ok = strings.Cut(auth, ":"); !ok {
		return errors.New("flag -expose-pprof: TUSD_PPROF_AUTH must be a user and a password separated by a colon")
	}
	return nil
}

func (c *hookConfig) check() error {
	if err := c.checkEvents(); err != nil {
		return err
	}
	var backends []string
	for _, b := range []struct{ flag, value string }{
		{"-hooks-dir", c.dir}, {"-hooks-http", c.http.endpoint}, {"-hooks-grpc", c.grpc.endpoint}, {"-hooks-plugin", c.plugin},
	} {
		if b.value != "" {
			backends = append(backends, b.flag)
		}
	}
	if len(backends) > 1 {
		return fmt.Errorf("flags %s exclude each other: only one of them can handle the events", strings.Join(backends, " and "))
	}
	if c.dir != "" {
		dir, err := filepath.Abs(c.dir)
		if err != nil {
			return fmt.Errorf("invalid value %q for flag -hooks-dir: %w", c.dir, err)
		}
		c.dir = dir
	}
	if u, err := url.Parse(c.http.endpoint); c.http.endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("invalid value %q for flag -hooks-http: not an http or https URL", c.http.endpoint)
	}
	if c.grpc.endpoint != "" && c.grpc.secure && c.grpc.serverCert == "" {
		return errors.New("flag -hooks-grpc-secure needs -hooks-grpc-server-tls-certificate")
	}
	if (c.grpc.clientCert == "") != (c.grpc.clientKey == "") {
		return errors.New("flags -hooks-grpc-client-tls-certificate and -hooks-grpc-client-tls-key need each other")
	}
	return nil
}

func (c *hookConfig) checkEvents() error {
	for name := range strings.SplitSeq(c.events, ",") {
		event := hooks.HookType(strings.TrimSpace(name))
		if event == "" {
			continue
		}
		if !slices.Contains(hooks.AvailableHooks, event) {
			return fmt.Errorf("invalid value %q for flag -hooks-enabled-events: unknown event %q", c.events, event)
		}
		c.enabled = append(c.enabled, event)
	}
	if len(c.enabled) == 0 {
		c.enabled = slices.Clone(hooks.AvailableHooks)
	}
	return nil
}
