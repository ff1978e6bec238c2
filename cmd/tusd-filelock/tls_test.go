package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)

	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})
	require.NoError(t, os.WriteFile(cert, certPEM, 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(certPEM))
	return cert, key, pool
}

func TestTLSModes(t *testing.T) {
	cert, key, pool := certificate(t)
	for _, c := range []struct {
		mode    string
		version uint16
		proto   string
		refuses uint16 // a version that a client cannot get
	}{
		{tls13, tls.VersionTLS13, "HTTP/2.0", tls.VersionTLS12},
		{tls12, tls.VersionTLS13, "HTTP/2.0", tls.VersionTLS11},
		{tls12Strong, tls.VersionTLS12, "HTTP/1.1", tls.VersionTLS11},
	} {
		t.Run(c.mode, func(t *testing.T) {
			s := start(t, "-tls-certificate", cert, "-tls-key", key, "-tls-mode", c.mode)
			require.True(t, strings.HasPrefix(s.url, "https://"))
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			res := do(t, &http.Client{Transport: transport}, http.MethodPost, s.url, strings.NewReader("hello"),
				"Upload-Length", "5", "Content-Type", "application/offset+octet-stream")
			require.Equal(t, http.StatusCreated, res.StatusCode)
			require.Equal(t, c.version, res.TLS.Version)
			require.Equal(t, c.proto, res.Proto)
			require.True(t, strings.HasPrefix(res.Header.Get("Location"), "https://"))

			addr := strings.TrimSuffix(strings.TrimPrefix(s.url, "https://"), "/files/")
			_, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: c.refuses})
			require.ErrorContains(t, err, "protocol version")
		})
	}
}

func TestH2C(t *testing.T) {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	s := start(t, "-enable-h2c")
	res := do(t, client, http.MethodOptions, s.url, nil)
	require.Equal(t, "HTTP/2.0", res.Proto)
	require.Equal(t, "HTTP/1.1", s.do(http.MethodOptions, s.url, nil).Proto)
	require.Equal(t, exitOK, s.stop())

	s = start(t)
	_, err := client.Get(s.url)
	require.Error(t, err)
	transport.CloseIdleConnections()
}
