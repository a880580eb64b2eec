"""The site's settings, with the limits of the benchmarks."""

import os

from config.settings import *  # noqa: F403 - all of the site's settings

LIMIT = int(os.environ["BENCHMARK_LIMIT"])
"""Maximum number of concurrent attempts for each upstream."""
OUTBOUND_HTTP = {
    "upstreams": {
        name: {**upstream, "max_concurrency": LIMIT, "requests_per_second": None}
        for name, upstream in OUTBOUND_HTTP["upstreams"].items()  # noqa: F405 - from the import above
    }
}
LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "CRITICAL"}}
