"""What Prometheus scrapes and probes ask: metrics, health and the little server that answers."""
