package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
)

// The values of -tls-mode.
const (
	tls13       = "tls13"
	tls12       = "tls12"
	tls12Strong = "tls12-strong"
)

// tlsConfig returns the protocol versions and ciphers of a -tls-mode.
// They are tusd's: forward secrecy and authenticated encryption in all modes.
func tlsConfig(mode string) (*tls.Config, error) {
	switch mode {
	case tls13:
		return &tls.Config{MinVersion: tls.VersionTLS13}, nil
	case tls12:
		return &tls.Config{
			MinVersion: tls.VersionTLS12,
			CipherSuites: []uint16{
				tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
				tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
				tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
				tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
				tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
				tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
			},
		}, nil
	case tls12Strong:
		// TLS 1.3 is left out because it cannot be had without its 128-bit cipher.
		return &tls.Config{
			MinVersion: tls.VersionTLS12,
			MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{
				tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
				tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			},
		}, nil
	}
	return nil, errors.New("must be tls13, tls12 or tls12-strong")
}

// setUpTLS prepares the server for ServeTLS without file names. A certificate
// that cannot be used is an error here, before anything listens.
func setUpTLS(server *http.Server, cfg *config) error {
	config, err := tlsConfig(cfg.tlsMode)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(cfg.tlsCert, cfg.tlsKey)
	if err != nil {
		return fmt.Errorf("load TLS certificate %s with key %s: %w", cfg.tlsCert, cfg.tlsKey, err)
	}
	config.Certificates = []tls.Certificate{pair}
	server.TLSConfig = config
	if cfg.tlsMode == tls12Strong {
		// HTTP/2 demands a 128-bit cipher, and net/http refuses to start without it.
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
	}
	return nil
}
