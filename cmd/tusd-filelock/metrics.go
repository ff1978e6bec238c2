package main

import (
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/hooks"
	"github.com/tus/tusd/v2/pkg/prometheuscollector"
)

// metrics is what the server itself counts.
type metrics struct {
	openConnections prometheus.Gauge
}

func newMetrics() *metrics {
	return &metrics{prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tusd_connections_open",
		Help: "Connections that are open now.",
	})}
}

// connState is an http.Server's ConnState.
func (m *metrics) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		m.openConnections.Inc()
	case http.StateClosed, http.StateHijacked:
		m.openConnections.Dec()
	}
}

// handler serves a registry with everything that tusd's default one has.
func (m *metrics) handler(uploads handler.Metrics) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.openConnections,
		hooks.MetricsHookErrorsTotal,
		hooks.MetricsHookInvocationsTotal,
		prometheuscollector.New(uploads),
	)
	hooks.SetupHookMetrics()
	return promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}
