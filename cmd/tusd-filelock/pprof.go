package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/http/pprof"
	"runtime"

	"github.com/felixge/fgprof"
)

// profiles serves the profiles of net/http/pprof and fgprof by the name that is
// left of the path, behind a password if there is one.
func profiles(cfg *config) http.Handler {
	runtime.SetBlockProfileRate(cfg.blockProfileRate)
	runtime.SetMutexProfileFraction(cfg.mutexProfile)

	special := map[string]http.Handler{
		"":        http.HandlerFunc(pprof.Index),
		"cmdline": http.HandlerFunc(pprof.Cmdline),
		"profile": http.HandlerFunc(pprof.Profile),
		"symbol":  http.HandlerFunc(pprof.Symbol),
		"trace":   http.HandlerFunc(pprof.Trace),
		"fgprof":  fgprof.Handler(),
	}
	byName := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := special[r.URL.Path]
		if !ok {
			h = pprof.Handler(r.URL.Path)
		}
		h.ServeHTTP(w, r)
	})
	if cfg.pprofUser == "" && cfg.pprofSecret == "" {
		return byName
	}
	return basicAuth(cfg.pprofUser, cfg.pprofSecret, byName)
}

func basicAuth(user, password string, next http.Handler) http.Handler {
	// Hashes have one length, so the comparison tells nothing about that of the secret.
	want := sha256.Sum256([]byte(user + ":" + password))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got := sha256.Sum256([]byte(user + ":" + password))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="profiles"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
