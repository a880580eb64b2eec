"""The pytest plugin for projects that use the library."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest
import responses as responses_library

from core import http
from core.http import process
from core.http.origin import Origin
from core.http.testing import FakeClock, OutboundHTTP

URL = "https://example.org/"


def test_waits_take_no_time(outbound_http: OutboundHTTP, responses: responses_library.RequestsMock) -> None:
    """The example of the documentation: a call fails after its retries, and the test sees the waits."""
    responses.get(URL, status=503)
    began = time.monotonic()
    assert http.get(URL).status_code == 503
    assert outbound_http.clock.waits == [1, 2, 4]
    assert outbound_http.clock.now == 7
    assert time.monotonic() - began < 5


def test_a_fake_clock_advances_only_by_its_methods() -> None:
    """advance() and wait() advance the clock, and waits are recorded."""
    clock = FakeClock(5.0)
    clock.advance(2)
    clock.wait(3)
    assert (clock(), clock.now, clock.waits) == (10.0, 10.0, [3])


def test_there_is_no_jitter(outbound_http: OutboundHTTP) -> None:
    """Waits in a test are predictable, because they have no jitter."""
    assert outbound_http.registry.runtime.random() == 0


def test_the_registry_is_the_processs(outbound_http: OutboundHTTP) -> None:
    """Tests can look at the upstreams that calls use."""
    assert outbound_http.registry is process.current()
    upstream = outbound_http.registry.upstream(Origin("https", "example.org", 443))
    assert upstream.clock is outbound_http.clock


def test_the_real_clock_returns_and_each_test_is_fresh(pytester: pytest.Pytester) -> None:
    """After a test with the fixture, the clock, the upstreams and the settings are the real ones again."""
    pytester.makeconftest('pytest_plugins = ["core.http.testing"]')
    pytester.makepyfile(
        textwrap.dedent(
            """
            import random
            import time
            from core.http import Policy, process
            from core.http.origin import Origin
            from core.http.registry import Config

            ORIGIN = Origin("https", "example.org", 443)
            seen = []

            def test_one(outbound_http):
                process.use(lambda: process.ProcessRegistry(Config(default=Policy(retries=0))))
                seen.append(outbound_http.registry.upstream(ORIGIN))
                outbound_http.clock.wait(5)

            def test_two(outbound_http):
                seen.append(outbound_http.registry.upstream(ORIGIN))
                assert seen[0] is not seen[1]
                assert [upstream.policy.retries for upstream in seen] == [0, 3]
                assert (outbound_http.clock.now, outbound_http.clock.waits) == (0, [])

            def test_three():
                now = process.current().runtime
                assert (now.clock, now.wait, now.random) == (time.monotonic, time.sleep, random.random)
                assert process.current().upstream(ORIGIN) not in seen
                assert process.current().upstream(ORIGIN).clock is time.monotonic
            """
        )
    )
    root = Path(__file__).parents[3]
    result = pytester.runpytest_subprocess("-p", "no:django", "-q", "-o", f"pythonpath={root}", "--rootdir=.")
    result.assert_outcomes(passed=3)


def test_the_real_clock_is_not_used_meanwhile(
    responses: responses_library.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call sleeps while the fixture is in use."""

    def sleep(seconds: float) -> None:
        raise AssertionError(seconds)

    responses.get(URL, status=503)
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        assert http.get(URL).status_code == 503
