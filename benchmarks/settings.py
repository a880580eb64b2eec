"""The site's settings, with limits that the benchmarks choose."""

import os

from config.settings import *  # noqa: F403 - as the site has them

LIMIT = int(os.environ["BENCHMARK_LIMIT"])
"""Attempts in flight to each upstream."""
OUTBOUND_HTTP = {
    "upstreams": {
        name: {**upstream, "max_concurrency": LIMIT, "requests_per_second": None}
        for name, upstream in OUTBOUND_HTTP["upstreams"].items()  # noqa: F405 - it is there
    }
}
LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "CRITICAL"}}
