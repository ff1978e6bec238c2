package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/hooks"
	"github.com/tus/tusd/v2/pkg/hooks/file"
	"github.com/tus/tusd/v2/pkg/hooks/grpc"
	"github.com/tus/tusd/v2/pkg/hooks/http"
	"github.com/tus/tusd/v2/pkg/hooks/plugin"
)

// newHandler returns tusd's handler, connected to the hook backend that the
// flags name. The caller has to call plugin.CleanupPlugins in the end.
func newHandler(config handler.Config, cfg *config, say func(string)) (*handler.Handler, error) {
	backend := hookBackend(&cfg.hooks, cfg.logFormat, say)
	if backend == nil {
		return handler.NewHandler(config)
	}
	if cfg.hooks.plugin != "" {
		// The plugin backend ends the process by itself when it cannot start the plugin.
		if _, err := exec.LookPath(cfg.hooks.plugin); err != nil {
			return nil, fmt.Errorf("load hook plugin: %w", err)
		}
	}
	uploads, err := hooks.NewHandlerWithHooks(&config, backend, cfg.hooks.enabled)
	if err != nil {
		return nil, err
	}
	events := make([]string, len(cfg.hooks.enabled))
	for i, event := range cfg.hooks.enabled {
		events[i] = string(event)
	}
	say("Enabled hook events: " + strings.Join(events, ", "))
	return uploads, nil
}

func hookBackend(c *hookConfig, logFormat string, say func(string)) hooks.HookHandler {
	switch {
	case c.dir != "":
		say(fmt.Sprintf("Using '%s' for hooks", c.dir))
		return &file.FileHook{Directory: c.dir}
	case c.http.endpoint != "":
		say(fmt.Sprintf("Using '%s' as the endpoint for hooks", c.http.endpoint))
		return &http.HttpHook{
			Endpoint:           c.http.endpoint,
			MaxRetries:         c.http.retry,
			Backoff:            c.http.backoff,
			ForwardHeaders:     list(c.http.forwardHeaders),
			Timeout:            c.http.timeout,
			SizeLimit:          c.http.sizeLimit,
			InsecureSkipVerify: c.http.skipVerify,
		}
	case c.grpc.endpoint != "":
		say(fmt.Sprintf("Using '%s' as the endpoint for gRPC hooks", c.grpc.endpoint))
		return &grpc.GrpcHook{
			Endpoint:                        c.grpc.endpoint,
			MaxRetries:                      c.grpc.retry,
			Backoff:                         c.grpc.backoff,
			Secure:                          c.grpc.secure,
			ServerTLSCertificateFilePath:    c.grpc.serverCert,
			ClientTLSCertificateFilePath:    c.grpc.clientCert,
			ClientTLSCertificateKeyFilePath: c.grpc.clientKey,
			ForwardHeaders:                  list(c.grpc.forwardHeaders),
		}
	case c.plugin != "":
		say(fmt.Sprintf("Using '%s' to load plugin for hooks", c.plugin))
		return &plugin.PluginHook{Path: c.plugin, JSONLogFormat: logFormat == logJSON}
	}
	return nil
}

// list splits what a flag separates by commas.
func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
