"""Measurements in a process of their own: ``python -m … <what> <url> …`` prints them as JSON."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
from collections.abc import Callable

import requests

from core.http import Policy, ResilientSession
from core.http.errors import ResponseTooLarge
from core.http.wire.requests_exceptions import AttemptTimeout
from tests.core.http.hostile.scenarios import CA


def session_with(policy: Policy) -> ResilientSession:
    session = ResilientSession(policy, wait=lambda _: None)
    session.trust_env = False
    session.verify = CA
    return session


def memory(seconds: str, base: str, *paths: str) -> dict[str, object]:
    """Fetch each of `paths`; return each result, and the largest growth of the process in MiB."""
    session = session_with(Policy(retries=0, attempt_timeout=float(seconds), circuit_breaker=None))
    session.get(f"{base}/fine")  # modules that are imported on first use do not count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told: dict[str, object] = {}
    for path in paths:
        try:
            came: object = len(session.get(f"{base}/{path}").content)
        except ResponseTooLarge:
            came = "too large"
        except requests.RequestException as exc:
            came = type(exc).__name__
        told[path] = [came, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]
    return told


def leaks(calls: str, *urls: str) -> dict[str, object]:
    """Make that many failing calls; return threads and open files before and after, without running `gc`."""
    session = session_with(Policy(retries=0, attempt_timeout=5.0, circuit_breaker=None))
    hasty = session_with(Policy(retries=0, attempt_timeout=0.003, circuit_breaker=None))
    failures: dict[str, int] = {}

    def call(number: int) -> None:
        url = urls[number % len(urls)]
        try:
            (hasty if "hang" in url else session).get(url)
        except requests.RequestException as exc:
            kind = "timeout" if isinstance(exc, AttemptTimeout) else "error"
            failures[kind] = failures.get(kind, 0) + 1

    for number in range(2 * len(urls)):
        call(number)
    gc.collect()
    gc.disable()
    before = (threading.active_count(), _files())
    failures.clear()
    for number in range(int(calls)):
        call(number)
    return {"before": before, "after": (threading.active_count(), _files()), "failures": failures}


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the fastest way, and it is only counted


if __name__ == "__main__":
    measures: dict[str, Callable[..., dict[str, object]]] = {"memory": memory, "leaks": leaks}
    print(json.dumps(measures[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 - the parent process reads it
