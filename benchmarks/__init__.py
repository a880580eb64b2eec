"""Measurements, side by side; each runs as ``python -m benchmarks.<name>`` and prints a table."""
