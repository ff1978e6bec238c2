package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileHooks(t *testing.T) {
	dir := t.TempDir()
	write := func(event, script string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, event), []byte("#!/bin/sh\n"+script), 0o755))
	}
	// The new name makes the event visible only when it is complete.
	write("pre-create", `cat >event.tmp && mv event.tmp event
echo '{"ChangeFileInfo": {"ID": "named-by-hook"}}'`)
	write("pre-finish", `exit 3`)

	s := start(t, "-hooks-dir", dir, "-hooks-enabled-events", "pre-create, pre-finish")
	s.out.find(t, "Using '"+dir+"' for hooks")
	s.out.find(t, "Enabled hook events: pre-create, pre-finish")
	url, _ := s.create("5")
	require.True(t, strings.HasSuffix(url, "/files/named-by-hook"))
	require.Contains(t, readFile(t, filepath.Join(dir, "event")), `"Type":"pre-create"`)

	res := s.do(http.MethodPatch, url, strings.NewReader("hello"), "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)
	s.out.find(t, "level=ERROR event=HookInvocationError type=pre-finish id=named-by-hook")
}

func TestHTTPHooks(t *testing.T) {
	type event struct {
		Type, Token string
	}
	events := make(chan event, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := event{Token: r.Header.Get("X-Token")}
		if json.NewDecoder(r.Body).Decode(&e) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		events <- e
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"RejectUpload": true, "HTTPResponse": {"StatusCode": 418, "Body": "not today"}}`))
	}))
	defer endpoint.Close()

	s := start(t, "-hooks-http", endpoint.URL, "-hooks-http-forward-headers", "X-Other, X-Token")
	res := s.do(http.MethodPost, s.url, nil, "Upload-Length", "5", "X-Token", "secret")
	require.Equal(t, http.StatusTeapot, res.StatusCode)
	require.Equal(t, "not today", bodyOf(t, res))
	require.Equal(t, event{"pre-create", "secret"}, <-events)
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
