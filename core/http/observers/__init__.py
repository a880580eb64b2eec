"""Observers of events: Prometheus metrics and log lines."""
