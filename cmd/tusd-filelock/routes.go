package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// pattern is a path that http.ServeMux hands to one handler, and the flag that
// it comes from.
type pattern struct {
	flag, path string
}

// patterns lists what routes will register.
func (c *config) patterns() []pattern {
	list := []pattern{{"base-path", c.uploadPath()}}
	if c.uploadPath() != "/" {
		list = append(list, pattern{"base-path", strings.TrimSuffix(c.uploadPath(), "/")})
		if c.showGreeting {
			list = append(list, pattern{"show-greeting", "/"})
		}
	}
	if c.exposeMetrics {
		list = append(list, pattern{"metrics-path", c.metricsPath})
	}
	if c.exposePprof {
		list = append(list, pattern{"pprof-path", c.profilePath()})
	}
	return list
}

// uploadPath is the path of -base-path, which may be a whole URL, with a slash
// at both ends.
func (c *config) uploadPath() string {
	path := c.basePath
	if u, err := url.Parse(c.basePath); err == nil && u.IsAbs() {
		path = u.Path
	}
	if path = strings.Trim(path, "/"); path == "" {
		return "/"
	}
	return "/" + path + "/"
}

func (c *config) profilePath() string {
	return strings.TrimSuffix(c.pprofPath, "/") + "/"
}

// routes puts the handlers of uploads, greeting, metrics and profiles together.
func routes(cfg *config, uploads *handler.Handler, m *metrics) http.Handler {
	mux := http.NewServeMux()
	path := cfg.uploadPath()
	var files http.Handler = uploads
	if cfg.shareReads {
		files = filelocker.ShareReads(uploads)
	}
	mux.Handle(path, http.StripPrefix(path, files))
	if path != "/" {
		bare := strings.TrimSuffix(path, "/")
		mux.Handle(bare, http.StripPrefix(bare, files))
		if cfg.showGreeting {
			mux.Handle("/", greeting(cfg))
		}
	}
	if cfg.exposeMetrics {
		mux.Handle(cfg.metricsPath, m.handler(uploads.Metrics))
	}
	if cfg.exposePprof {
		mux.Handle(cfg.profilePath(), http.StripPrefix(cfg.profilePath(), profiles(cfg)))
	}
	return mux
}

// greeting answers with where to go from here.
func greeting(cfg *config) http.Handler {
	var text strings.Builder
	fmt.Fprintf(&text, "This is %s, a server for resumable uploads (https://tus.io).\n\n", program)
	fmt.Fprintf(&text, "Uploads: %s\n", cfg.basePath)
	if cfg.exposeMetrics {
		fmt.Fprintf(&text, "Metrics: %s\n", cfg.metricsPath)
	}
	fmt.Fprintf(&text, "\n%s", readVersion())
	page := []byte(text.String())
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(page)
	})
}
