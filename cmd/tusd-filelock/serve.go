package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/hooks/plugin"
	tuslog "golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// closeGrace is how long handlers have to save and unlock after their
// connections were closed on them.
const closeGrace = 2 * time.Second

// serve runs the server until a signal comes and all requests have ended.
func serve(cfg *config, logs logs, signals <-chan os.Signal) error {
	running := newRequests()
	composer, err := openStorage(cfg, running, logs)
	if err != nil {
		return err
	}
	defer plugin.CleanupPlugins()
	uploads, err := newHandler(handlerConfig(cfg, composer, logs), cfg, logs.settings)
	if err != nil {
		return err
	}
	// tusd's hooks and net/http log to the default logger.
	tuslog.SetDefault(logs.requests)
	logs.settings("Supported tus extensions: " + uploads.SupportedExtensions())
	m := newMetrics()
	server, err := newServer(cfg, running.track(routes(cfg, uploads, m)), m)
	if err != nil {
		return err
	}
	listener, err := listen(cfg)
	if err != nil {
		return err
	}
	sayListening(cfg, listener, logs.settings)
	return runServer(cfg, server, listener, running, logs, signals)
}

// openStorage creates the upload directory and connects store and locker.
func openStorage(cfg *config, running *requests, logs logs) (*handler.StoreComposer, error) {
	dir, err := filepath.Abs(cfg.uploadDir)
	if err != nil {
		return nil, fmt.Errorf("upload directory %s: %w", cfg.uploadDir, err)
	}
	logs.settings(fmt.Sprintf("Using '%s' as directory storage.", dir))
	if err := os.MkdirAll(dir, cfg.dirPerms.mode()); err != nil {
		return nil, fmt.Errorf("create upload directory: %w", err)
	}
	logs.settings(fmt.Sprintf("Using %.2fMB as maximum size.", float64(cfg.maxSize)/1024/1024))

	store := filestore.New(dir)
	store.DirModePerm = cfg.dirPerms.mode()
	store.FileModePerm = cfg.filePerms.mode()
	locker := filelocker.New(dir)
	locker.HolderPollInterval = cfg.holderPollInterval
	locker.AcquirerPollInterval = cfg.acquirerPoll
	locker.Logger = logs.locks

	composer := handler.NewStoreComposer()
	store.UseIn(composer)
	composer.UseLocker(running.locker(locker))
	return composer, nil
}

func handlerConfig(cfg *config, composer *handler.StoreComposer, logs logs) handler.Config {
	return handler.Config{
		StoreComposer:                    composer,
		MaxSize:                          cfg.maxSize,
		BasePath:                         cfg.basePath,
		EnableExperimentalProtocol:       cfg.experimentalProtocol,
		DisableDownload:                  cfg.disableDownload,
		DisableTermination:               cfg.disableTermination,
		DisableConcatenation:             cfg.disableConcatenation,
		Cors:                             cfg.cors.handlerConfig(),
		UploadProgressInterval:           cfg.hooks.progressInterval,
		Logger:                           logs.requests,
		RespectForwardedHeaders:          cfg.behindProxy,
		GracefulRequestCompletionTimeout: cfg.completionTimeout,
		AcquireLockTimeout:               cfg.acquireLockTimeout,
		NetworkTimeout:                   cfg.networkTimeout,
	}
}

// handlerConfig adds to tusd's CORS settings; the expression has been checked.
func (c *corsConfig) handlerConfig() *handler.CorsConfig {
	cors := handler.DefaultCorsConfig
	cors.Disable = c.disable
	cors.AllowCredentials = c.allowCredentials
	cors.AllowOrigin = regexp.MustCompile(c.allowOrigin)
	cors.MaxAge = c.maxAge
	for _, more := range []struct {
		list  *string
		added string
	}{
		{&cors.AllowMethods, c.allowMethods},
		{&cors.AllowHeaders, c.allowHeaders},
		{&cors.ExposeHeaders, c.exposeHeaders},
	} {
		if more.added != "" {
			*more.list += ", " + more.added
		}
	}
	return &cors
}

func newServer(cfg *config, routes http.Handler, m *metrics) (*http.Server, error) {
	server := &http.Server{
		Handler: routes,
		// Reading and writing a body may take any time as long as it goes on:
		// tusd sets those deadlines anew with each read.
		ReadHeaderTimeout: cfg.networkTimeout,
		IdleTimeout:       cfg.networkTimeout,
		ConnState:         m.connState,
	}
	if cfg.tlsCert != "" {
		return server, setUpTLS(server, cfg)
	}
	if cfg.enableH2C {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	return server, nil
}

func sayListening(cfg *config, listener net.Listener, say func(string)) {
	what := "address"
	if cfg.unixSock != "" {
		what = "socket"
	}
	say(fmt.Sprintf("Using %s as %s to listen.", address(cfg), what))
	say(fmt.Sprintf("Using %s as the base path.", cfg.basePath))
	if cfg.exposeMetrics {
		say(fmt.Sprintf("Using %s as the metrics path.", cfg.metricsPath))
	}
	if cfg.unixSock != "" {
		// tusd says nothing here, but this is the line that others wait for.
		say(fmt.Sprintf("You can now upload files to: %s on this socket", cfg.uploadPath()))
		return
	}
	protocol := "http"
	if cfg.tlsCert != "" {
		protocol = "https"
	}
	say(fmt.Sprintf("You can now upload files to: %s://%s%s", protocol, listener.Addr(), cfg.uploadPath()))
}

// runServer serves until the first signal and then shuts down.
func runServer(cfg *config, server *http.Server, listener net.Listener, running *requests, logs logs, signals <-chan os.Signal) error {
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
		} else {
			served <- server.Serve(listener)
		}
	}()

	select {
	case err := <-served:
		running.stopAll()
		server.Close()
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case sig := <-signals:
		logs.lines(fmt.Sprintf("Received signal %q: shutting down.", sig))
	}
	down := make(chan error, 1)
	go func() {
		err := shutDown(cfg.shutdownTimeout, server, running)
		<-served
		down <- err
	}()
	select {
	case err := <-down:
		if err == nil {
			logs.lines("Shutdown complete.")
		}
		return err
	case sig := <-signals:
		return fmt.Errorf("received signal %q again: exiting at once, requests running: %d", sig, running.count())
	}
}

// shutDown ends all requests with their data saved and their locks released.
// Connections that take longer than timeout are closed.
func shutDown(timeout time.Duration, server *http.Server, running *requests) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	running.stopAll()
	err := server.Shutdown(ctx)
	if err == nil {
		// A connection is idle when the answer is written; its lock is released after that.
		err = running.wait(ctx)
	}
	if err == nil {
		return nil
	}
	late := running.count()
	server.Close()
	ctx, cancel = context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if running.wait(ctx) != nil {
		return fmt.Errorf("shutdown timeout of %v passed, requests cut off: %d, of these still running: %d", timeout, late, running.count())
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("shut down: %w", err)
	}
	return fmt.Errorf("shutdown timeout of %v passed, requests cut off: %d", timeout, late)
}
