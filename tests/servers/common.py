"""Helpers of all servers that tests start."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import NoReturn
from urllib.request import ProxyHandler, build_opener

import pytest

LONGEST = 180.0
"""Seconds after which what a test waits for will not come any more. The machine may be busy."""
DIRECT = build_opener(ProxyHandler({}))
"""Opens URLs of this machine, without the proxies of the environment."""


def cannot(reason: str) -> NoReturn:
    """Skip, because work on the site does not need every server; but with CI set, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float, what: str, *, every: float = 0.02) -> None:
    """Look every so often whether `condition` holds. Raises `AssertionError` where it does not, after `seconds`."""
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest, f"not within {seconds:g} s: {what}"
        time.sleep(every)
