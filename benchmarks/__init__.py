"""Benchmarks against other libraries. Each runs as ``python -m benchmarks.<name>`` and prints tables."""
