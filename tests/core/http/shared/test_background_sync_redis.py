"""Breaker and gate state shared by real processes through a real Redis server, which may fail.

Nothing here depends on a quick machine: the tests wait for each event, and the limits are far from the measured
times, which `python -m benchmarks.shared` prints.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.core.http.conftest import Serve
from tests.core.http.misbehave import MisbehavingServer, Reply, Then, reply
from tests.servers.fleet import Member
from tests.servers.redis import RedisServer

DEADLINE = 60.0
FINE = {"first": reply(200), "second": reply(200)}
DOWN = {"first": reply(503), "second": reply(503)}
LIMIT = 10.0
"""Seconds that no call may take; one that waited for the cache would take as long as its socket's timeout, 60 s."""

Start = Callable[..., Member]


@pytest.fixture
def start(redis_server: RedisServer, upstream: MisbehavingServer) -> Iterator[Start]:
    """Start processes that share the state of `upstream`."""
    with ExitStack() as stack:

        def start(**options: Any) -> Member:
            return stack.enter_context(Member(redis_server.url, upstream.netloc, **options))

        yield start


@pytest.fixture
def upstream(serve: Serve) -> MisbehavingServer:
    return serve(routes=FINE)


def until(condition: Callable[[], bool]) -> None:
    latest = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < latest, "it did not happen"
        time.sleep(0.05)


def find_down(member: Member, upstream: MisbehavingServer) -> None:
    upstream.routes = DOWN
    until(lambda: (member.get("/first"), member.state() == "open")[1])


def requests_to(upstream: MisbehavingServer, path: str) -> int:
    return sum(request.startswith(f"GET {path} ".encode()) for request in upstream.requests)


def test_the_second_sends_at_most_two_attempts(start: Start, upstream: MisbehavingServer) -> None:
    """A call of another process ends as soon as the process knows of the outage; later calls send nothing."""
    first, second = start(retries=0), start()
    assert (first.get("/first").outcome, second.get("/second").outcome) == ("200", "200")
    find_down(first, upstream)
    before = requests_to(upstream, "/second")
    assert second.get("/second").outcome in {"503", "CircuitOpen"}
    until(lambda: second.get("/second").outcome == "CircuitOpen")
    assert requests_to(upstream, "/second") - before <= 2
    assert first.end(DEADLINE).count("Breaker of upstream example") == 1
    log = second.end(DEADLINE)
    assert "INFO Breaker of upstream example opens because it opened in another process: nothing is sent for 1" in log


def test_a_process_that_starts_during_an_outage_learns_of_it(start: Start, upstream: MisbehavingServer) -> None:
    """A process that starts during an outage knows the state of upstreams after at most two attempts of its own."""
    find_down(start(retries=0), upstream)
    late = start()
    late.get("/second")
    until(lambda: late.get("/second").outcome == "CircuitOpen")
    assert requests_to(upstream, "/second") <= 2


def test_a_rate_limit_of_one_process_applies_to_all(start: Start, upstream: MisbehavingServer) -> None:
    """A Retry-After that one process received pauses the other one too."""
    first, second = start(retries=0), start(retries=0)
    assert second.get("/second").outcome == "200"
    upstream.routes = {"first": reply(429, b"", "Retry-After: 300"), "second": reply(200)}
    assert first.get("/first").outcome == "429"
    until(lambda: second.get("/second").outcome == "RateLimited")


def test_one_of_them_probes_and_its_answer_holds_for_all(start: Start, upstream: MisbehavingServer) -> None:
    """While one process sends a probe, the others send nothing; after its success, all do."""
    options = {"retries": 0, "circuit_breaker": {"open_for": 1}, "patience": DEADLINE}
    first, *others = (start(**options) for _ in range(3))
    find_down(first, upstream)
    for other in others:
        until(lambda other=other: other.state() == "open")  # type: ignore[misc]
    time.sleep(1.5)  # longer than it stays open; how much longer does not matter
    answered = threading.Event()
    upstream.routes = {"first": Reply(b"", Then.CLOSE, gate=answered), "second": reply(200)}
    sent = len(upstream.requests)
    first.begin("/first")
    until(lambda: len(upstream.requests) == sent + 1)
    assert [other.get("/second").outcome for other in others] == ["CircuitOpen"] * 2
    upstream.routes = FINE
    answered.set()  # it hangs up: the probe has failed, and another is due after two seconds
    assert first.finish().outcome == "ConnectionError"
    for other in others:
        until(lambda other=other: other.get("/second").outcome == "200")  # type: ignore[misc]
    until(lambda: first.state() == "closed")


@pytest.mark.parametrize("trouble", ["kill", "suspend"])
def test_a_redis_that_fails_delays_no_call(
    start: Start, upstream: MisbehavingServer, redis_server: RedisServer, trouble: str
) -> None:
    """While Redis is killed or stopped, calls and probes are not delayed; after that, state is shared again."""
    options = {"retries": 0, "circuit_breaker": {"failures_in_a_row": 2, "open_for": 0.2}, "socket_timeout": 60.0}
    members = {"/first": start(**options), "/second": start(**options)}
    assert [member.get(path).outcome for path, member in members.items()] == ["200", "200"]
    getattr(redis_server, trouble)()
    upstream.routes = DOWN
    outcomes = set()
    for _ in range(20):
        for path, member in members.items():
            called = member.get(path)
            outcomes.add(called.outcome)
            assert called.seconds < LIMIT
        time.sleep(0.1)
    assert outcomes == {"503", "CircuitOpen"}
    if trouble == "kill":
        redis_server.start()
    else:
        redis_server.resume()
    upstream.routes = FINE
    for path, member in members.items():
        until(lambda path=path, member=member: member.get(path).outcome == "200")  # type: ignore[misc]
    upstream.routes = {"first": reply(429, b"", "Retry-After: 300"), "second": reply(200)}
    members["/first"].get("/first")
    until(lambda: members["/second"].get("/second").outcome == "RateLimited")
    for member in members.values():
        log = member.end(DEADLINE)
        if trouble == "kill":
            assert log.count("WARNING The shared cache failed (ConnectionError: ") == 1
            assert log.count("INFO The shared cache works again") == 1
        assert "Traceback" not in log


def test_a_process_ends_quietly_while_redis_is_stopped(
    start: Start, upstream: MisbehavingServer, redis_server: RedisServer
) -> None:
    """The thread that waits for the cache neither delays the end of the process nor writes to stderr."""
    member = start(socket_timeout=600.0)
    redis_server.suspend()
    assert member.get("/first").outcome == "200"
    assert member.end(DEADLINE) == ""
