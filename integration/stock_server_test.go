package integration_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	stocklocker "github.com/tus/tusd/v2/pkg/filelocker"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
)

// serveStock is stock tusd with a disk store, put together from its own packages: the same
// handler, store and locker as its command, without the cloud stores.
func serveStock(argv []string) error {
	flags := flag.NewFlagSet("stock", flag.ContinueOnError)
	host := flags.String("host", "0.0.0.0", "")
	port := flags.String("port", "8080", "")
	dir := flags.String("upload-dir", "./data", "")
	holder := flags.Duration("filelock-holder-poll-interval", 5*time.Second, "")
	acquirer := flags.Duration("filelock-acquirer-poll-interval", 2*time.Second, "")
	acquire := flags.Duration("acquire-lock-timeout", 20*time.Second, "")
	if err := flags.Parse(argv); err != nil {
		return err
	}
	composer := handler.NewStoreComposer()
	filestore.New(*dir).UseIn(composer)
	locker := stocklocker.New(*dir)
	locker.HolderPollInterval, locker.AcquirerPollInterval = *holder, *acquirer
	locker.UseIn(composer)
	h, err := handler.NewHandler(handler.Config{
		StoreComposer:      composer,
		BasePath:           "/files/",
		AcquireLockTimeout: *acquire,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, *port))
	if err != nil {
		return err
	}
	fmt.Printf("You can now upload files to: http://%s/files/\n", listener.Addr())
	return serveUntilSignal(listener, http.StripPrefix("/files/", h))
}

// serveUntilSignal shuts down as tusd does: requests are told, and have ten seconds.
func serveUntilSignal(listener net.Listener, h http.Handler) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	srv := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return ctx }}
	srv.RegisterOnShutdown(func() { cancel(handler.ErrServerShutdown) })
	stop, forget := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer forget()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-stop.Done():
	}
	late, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	err := srv.Shutdown(late)
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		return serveErr
	}
	return err
}
