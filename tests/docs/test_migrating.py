"""The code in docs/migrating/ for other libraries, run against a server that misbehaves."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import Any

import httpx
import pybreaker
import pytest
import requests
import tenacity
from urllib3 import Retry

from core.http.testing import OutboundHTTP
from tests.core.http.misbehave import CLOSE, MisbehavingServer, Reply, reply
from tests.pages import ROOT, blocks

CUT = reply(200, b"half", length=99)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that the code of a page waits, which take no time."""
    waited: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds:  # 0 lets other tasks run
            waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(asyncio, "sleep", note)
    return waited


def code(page: str, heading: str, number: int = 0) -> dict[str, Any]:
    """Run a block below a heading of a page: the first, or the one after `number` others."""
    path = ROOT / "docs" / "migrating" / page
    first = path.read_text(encoding="utf-8").index(f"\n## {heading}\n")
    line = path.read_text(encoding="utf-8").count("\n", 0, first)
    names: dict[str, Any] = {}
    exec([block.code for block in blocks(path) if block.line > line][number], names)
    return names


def ends(names: dict[str, Any], *script: Reply) -> tuple[Any, int]:
    """Call `fetch`. Returns the status, value or kind of error that it ends with, and the number of requests."""
    with MisbehavingServer(list(script)) as server:
        try:
            got = names["fetch"](server.url)
            if inspect.iscoroutine(got):
                got = asyncio.run(got)
        except Exception as exc:  # noqa: BLE001 - the test compares it
            return type(exc), len(server.requests)
        return getattr(got, "status_code", got), len(server.requests)


@pytest.mark.parametrize("page", ["urllib3-retry.md", "tenacity.md", "pybreaker.md", "loop.md"])
def test_before_and_after_fetch_the_same(page: str) -> None:
    """Without failures, both versions get the answer with one request."""
    for heading in ("Before", "After"):
        _, requests_made = ends(code(page, heading), reply(200, b'{"fine": true}'))
        assert requests_made == 1


def test_after_returns_the_last_answer_and_waits_1_2_4(outbound_http: OutboundHTTP) -> None:
    """The code that the pages recommend: four attempts, requests' own error, and no other waits."""
    for page in ("urllib3-retry.md", "tenacity.md"):
        outbound_http.clock.waits.clear()
        assert ends(code(page, "After"), *[reply(503)] * 4) == (requests.HTTPError, 4)
        assert outbound_http.clock.waits == [1, 2, 4]
    assert ends(code("loop.md", "After"), reply(404)) == (None, 1)
    assert ends(code("tenacity.md", "After"), reply(404)) == (requests.HTTPError, 1)
    assert ends(code("urllib3-retry.md", "After"), CUT, reply(200))[1] == 2


def test_urllib3_waits_0_2_4_and_raises_another_error(waits: list[float]) -> None:
    """The first retry goes out at once, and the last 503 is neither returned nor an HTTPError."""
    before = code("urllib3-retry.md", "Before")
    assert ends(before, *[reply(503)] * 4) == (requests.exceptions.RetryError, 4)
    assert waits == [2, 4]
    assert not issubclass(requests.exceptions.RetryError, requests.HTTPError)


def test_urllib3_does_not_retry_a_body() -> None:
    """A body that breaks off reaches the caller as an error, after one request."""
    before = code("urllib3-retry.md", "Before")
    assert ends(before, CUT, reply(200)) == (requests.exceptions.ChunkedEncodingError, 1)


def test_urllib3_obeys_six_hours(waits: list[float]) -> None:
    """Retry-After of a day is six hours of sleep."""
    assert Retry.DEFAULT_RETRY_AFTER_MAX == 6 * 3600
    before = code("urllib3-retry.md", "Before")
    assert ends(before, reply(503, b"", "Retry-After: 86400"), reply(200)) == (200, 2)
    assert waits == [6 * 3600]


def test_urllib3_retries_a_post_that_was_not_sent(waits: list[float]) -> None:
    """A failed connection is retried with every method; a 503 for a POST is not."""
    session = code("urllib3-retry.md", "Before")["session"]
    with MisbehavingServer([reply(503)]) as server:
        url = server.url
        assert session.post(url, timeout=10).status_code == 503
    assert waits == []
    with pytest.raises(requests.ConnectionError):
        session.post(url, timeout=10)  # the port is closed now
    assert waits == [2, 4]


def test_tenacity_retries_permanent_failures(waits: list[float]) -> None:
    """A 404 and an invalid URL get four attempts, and end with an error of tenacity."""
    before = code("tenacity.md", "Before")
    assert ends(before, *[reply(404)] * 4) == (tenacity.RetryError, 4)
    assert waits == [1, 2, 4]
    with pytest.raises(tenacity.RetryError):
        before["fetch"]("http://")
    assert len(waits) == 6


def test_the_async_code_after_returns_the_last_answer(outbound_http: OutboundHTTP) -> None:
    """Four attempts at a 503, with httpx's own error; one at a 404; a body that breaks off is asked for again."""
    for after in (code("httpx-retries.md", "After"), code("tenacity.md", "Async code", 1)):
        outbound_http.clock.waits.clear()
        assert ends(after, reply(200)) == (200, 1)
        assert ends(after, *[reply(503)] * 4) == (httpx.HTTPStatusError, 4)
        assert outbound_http.clock.waits == [1, 2, 4]
        assert ends(after, reply(404)) == (httpx.HTTPStatusError, 1)
        assert ends(after, CUT, reply(200)) == (200, 2)


def test_tenacity_repeats_a_404_in_async_code(waits: list[float]) -> None:
    """As around a call of requests: four requests, and an error of tenacity's."""
    before = code("tenacity.md", "Async code")
    assert ends(before, reply(200)) == (200, 1)
    assert ends(before, *[reply(404)] * 4) == (tenacity.RetryError, 4)
    assert waits == [1, 2, 4]


def test_tenacity_does_not_read_retry_after(waits: list[float]) -> None:
    """The server asks for a minute, and gets the next request after a second."""
    assert ends(code("tenacity.md", "Before"), reply(429, b"", "Retry-After: 60"), reply(200)) == (200, 2)
    assert waits == [1]


def test_pybreaker_opens_for_a_healthy_server() -> None:
    """Five 404s in a row open the breaker, and its error is not one of requests."""
    before = code("pybreaker.md", "Before")
    with MisbehavingServer([reply(404)] * 9) as server:
        for _ in range(4):
            with pytest.raises(requests.HTTPError):
                before["fetch"](server.url)
        for _ in range(2):
            with pytest.raises(pybreaker.CircuitBreakerError):
                before["fetch"](server.url)
        assert len(server.requests) == 5
    assert not issubclass(pybreaker.CircuitBreakerError, requests.RequestException)
    after = code("pybreaker.md", "After")
    with MisbehavingServer([reply(404)] * 9) as server:
        for _ in range(9):
            with pytest.raises(requests.HTTPError):
                after["fetch"](server.url)


def test_pybreaker_lets_one_thread_in_at_a_time() -> None:
    """While one call is under way, another one waits for its lock."""
    breaker: pybreaker.CircuitBreaker = code("pybreaker.md", "Before")["breaker"]
    first_is_in, second_is_in, may_end = threading.Event(), threading.Event(), threading.Event()
    first = threading.Thread(target=breaker.call, args=(lambda: (first_is_in.set(), may_end.wait(10)),))
    second = threading.Thread(target=breaker.call, args=(second_is_in.set,))
    first.start()
    assert first_is_in.wait(10)
    second.start()
    assert not second_is_in.wait(0.1)
    may_end.set()
    assert second_is_in.wait(10)
    first.join()
    second.join()


def test_the_loop_sleeps_after_the_last_attempt(waits: list[float]) -> None:
    """A 404 costs three requests and 7 s, and the loop hides the error, even a mistake in the code."""
    before = code("loop.md", "Before")
    assert ends(before, *[reply(404)] * 3) == (None, 3)
    assert waits == [1, 2, 4]
    assert ends(before, CLOSE, CLOSE, CLOSE) == (None, 3)
    assert before["fetch"](None) is None
