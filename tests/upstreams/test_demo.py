"""The demonstration can be watched by a Prometheus."""

from __future__ import annotations

import threading
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.servers.common import free_port, wait_until
from tests.upstreams.demo import _scraped


def test_it_waits_for_a_scrape() -> None:
    """With --metrics-port nothing is counted before Prometheus has seen the zeros, which increase() needs."""
    port, begun = free_port(), threading.Event()

    def run() -> None:
        with _scraped(port):
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: _asked(port, "/nothing"), 20, "the site answers")
    assert not begun.is_set()
    assert _asked(port, "/metrics")
    assert begun.wait(20)
    thread.join(20)


def _asked(port: int, path: str) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20):
            return True
    except HTTPError as answer:
        answer.close()
        return True
    except URLError:
        return False
