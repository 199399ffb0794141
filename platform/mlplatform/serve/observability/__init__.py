"""Numbers about the server: Prometheus metrics, OpenTelemetry, request timing, trace context."""
