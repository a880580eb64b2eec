"""Observers of the engine's events: Prometheus metrics and log lines."""
