package filelocker_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/exp/slog"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// routers are ways to put tusd's handler, and ShareReads, into a program.
var routers = map[string]func(routed *handler.Handler) http.Handler{
	"around everything": func(routed *handler.Handler) http.Handler {
		return filelocker.ShareReads(http.StripPrefix("/files/", routed))
	},
	"inside of StripPrefix": func(routed *handler.Handler) http.Handler {
		return http.StripPrefix("/files/", filelocker.ShareReads(routed))
	},
	"around each method": func(routed *handler.Handler) http.Handler {
		mux, tus := http.NewServeMux(), routed.UnroutedHandler
		for pattern, h := range map[string]http.HandlerFunc{
			"GET /files/{id}": tus.GetFile, "HEAD /files/{id}": tus.HeadFile,
			"DELETE /files/{id}": tus.DelFile, "POST /files/{id}": tus.GetFile,
		} {
			mux.Handle(pattern, filelocker.ShareReads(http.StripPrefix("/files/", tus.Middleware(h))))
		}
		return mux
	},
	"twice": func(routed *handler.Handler) http.Handler {
		return filelocker.ShareReads(http.StripPrefix("/files/", filelocker.ShareReads(routed)))
	},
	"not at all": func(routed *handler.Handler) http.Handler { return http.StripPrefix("/files/", routed) },
}

func TestShareReadsWithAnyRouter(t *testing.T) {
	for name, router := range routers {
		t.Run(name, func(t *testing.T) {
			beside := http.StatusOK
			if name == "not at all" {
				beside = http.StatusInternalServerError
			}
			f := setUp(t)
			composer := handler.NewStoreComposer()
			filestore.New(f.dir).UseIn(composer)
			composer.UseLocker(f.locker)
			uploads, err := handler.NewHandler(handler.Config{
				BasePath: "/files/", StoreComposer: composer, AcquireLockTimeout: 300 * time.Millisecond,
				GracefulRequestCompletionTimeout: time.Millisecond,
				Logger:                           slog.New(slog.NewTextHandler(io.Discard, nil)),
			})
			require.NoError(t, err)
			server := httptest.NewServer(router(uploads))
			defer server.Close()
			f.leave("a", "content", 0)
			f.leave("a.info", `{"ID":"a","Size":7,"Offset":7,"Storage":{"Path":"`+f.path("a")+`"}}`, 0)

			reader := f.read("a")
			require.Equal(t, beside, send(server, "GET", server.URL+"/files/a", "").StatusCode)
			require.Equal(t, beside, send(server, "HEAD", server.URL+"/files/a", "").StatusCode)
			if name != "not at all" {
				reader.mustNotBeAsked()
			}
			disguised := send(server, "POST", server.URL+"/files/a", "", "X-HTTP-Method-Override", "GET")
			require.Equal(t, http.StatusInternalServerError, disguised.StatusCode, "what is no GET takes the lock alone")
			reader.mustBeAsked()
			reader.unlock()

			require.Equal(t, http.StatusNoContent, send(server, "DELETE", server.URL+"/files/a", "").StatusCode)
			_, err = os.Stat(f.path("a"))
			require.ErrorIs(t, err, os.ErrNotExist)
			f.mustHold()
		})
	}
}
