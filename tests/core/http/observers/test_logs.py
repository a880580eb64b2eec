"""The log lines of calls, and secrets that they never contain."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests
import responses as responses_library
from django.test import override_settings

from core import http
from core.http import Policy, ResilientSession, process
from core.http.events import Audience, Event
from core.http.process import ProcessRegistry
from core.http.testing import FakeClock

URL = "https://example.org/a/path"
NAMED = {"upstreams": {"example": {"hosts": ["example.org"]}}}


class Recorder(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.emit = records.append  # type: ignore[method-assign]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.DEBUG, "core.http")
    records: list[logging.LogRecord] = []
    handler = Recorder(records)
    logging.getLogger("core.http").addHandler(handler)
    yield records
    logging.getLogger("core.http").removeHandler(handler)


def at(level: int, records: list[logging.LogRecord]) -> list[logging.LogRecord]:
    return [record for record in records if record.levelno == level]


@override_settings(OUTBOUND_HTTP=NAMED)
def test_a_failed_call_is_one_warning_with_its_history(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord], clock: FakeClock
) -> None:
    """A failed call with four attempts is one line: the request, the reason, and the result of each attempt."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(0.5)
        return 503, {}, "busy"

    responses.add_callback("GET", URL, slow)
    http.get(URL)
    (record,) = at(logging.WARNING, records)
    assert record.getMessage() == (
        "GET https://example.org/a/path failed: http_5xx (upstream example, 4 attempts in 9.0 s: "
        "503 in 0.5 s, after 1.0 s 503 in 0.5 s, after 2.0 s 503 in 0.5 s, after 4.0 s 503 in 0.5 s)"
    )
    assert at(logging.INFO, records) == []


@override_settings(OUTBOUND_HTTP=NAMED)
def test_a_failed_call_has_its_parts_as_fields(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """Structured logging finds method, host, path, upstream, reason, attempts and seconds as fields."""
    responses.post(URL, body=requests.ReadTimeout())
    with pytest.raises(requests.ReadTimeout):
        http.post(URL)
    (record,) = at(logging.WARNING, records)
    fields = {
        "upstream": "example",
        "method": "POST",
        "scheme": "https",
        "host": "example.org",
        "path": "/a/path",
        "outcome": "failure",
        "reason": "timeout",
        "attempts": 1,
        "seconds": 0.0,
        "history": "timeout (ReadTimeout) in 0.0 s",
        "retry_suppressed": "not_idempotent",
    }
    assert {name: getattr(record, name) for name in fields} == fields
    assert record.getMessage().endswith(
        "1 attempt in 0.0 s: timeout (ReadTimeout) in 0.0 s, not retried: not_idempotent)"
    )


def test_a_recovered_call_is_an_info(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """A call that succeeded after retries is worth an INFO with its history."""
    responses.get(URL, status=503)
    responses.get(URL, status=200)
    http.get(URL)
    (record,) = at(logging.INFO, records)
    assert record.getMessage() == (
        "GET https://example.org recovered (upstream other, 2 attempts in 1.0 s: "
        "503 in 0.0 s, after 1.0 s 200 in 0.0 s)"
    )
    assert at(logging.WARNING, records) == []


@pytest.mark.parametrize("status", [200, 404])
def test_an_answered_call_is_a_debug_line(
    status: int, responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """Successes and client errors are no news: an attempt and a call at DEBUG."""
    responses.get(URL, status=status)
    http.get(URL)
    assert [record.levelno for record in records] == [logging.DEBUG] * 2


def test_a_rejected_call_is_a_debug_line(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord], clock: FakeClock
) -> None:
    """A call that was not sent raises an error and is a DEBUG line."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(61)
        return 302, {"Location": URL}, ""

    responses.add_callback("GET", URL, slow)
    with pytest.raises(http.DeadlineExceeded):
        http.get(URL)
    assert at(logging.DEBUG, records)[-1].getMessage() == (
        "GET https://example.org rejected: deadline_exceeded (upstream other, 0 attempts in 0.0 s: none)"
    )


def test_each_attempt_and_each_delay_is_a_debug_line(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """At level DEBUG, each attempt and each delay is logged as it happens."""
    responses.get(URL, status=503, headers={"Retry-After": "9"})
    responses.get(URL, status=200)
    http.get(URL)
    assert [record.getMessage() for record in at(logging.DEBUG, records)] == [
        "GET https://example.org: 503 in 0.000 s",
        "upstream other (example.org) asks for a pause of 9 s",
        "GET https://example.org: retry in 9.0 s (http_5xx, retry_after)",
        "GET https://example.org: 200 in 0.000 s",
    ]


def test_a_cancelled_attempt_is_a_debug_line(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """An attempt that was interrupted is said to be cancelled."""

    def interrupt(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        raise KeyboardInterrupt

    responses.add_callback("GET", URL, interrupt)
    with pytest.raises(KeyboardInterrupt):
        http.get(URL)
    assert [record.getMessage() for record in records] == ["GET https://example.org: cancelled in 0.000 s"]


def test_the_level_of_the_logger_applies(
    responses: responses_library.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    """The level of the logger `core.http` decides what is written."""
    caplog.set_level(logging.ERROR, "core.http")
    responses.get(URL, status=503)
    http.get(URL)
    assert caplog.records == []


SECRETS = ("passw0rd", "s3cret", "t0ken", "dXNlcjpwYXNzdzByZA")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:passw0rd@elsewhere.test/hooks/t0ken?key=s3cret#s3cret",
        "https://user:passw0rd@example.org/a/path?key=s3cret#s3cret",
    ],
)
@pytest.mark.parametrize("end", [503, 429, 404, 200, "error", "cut off"])
@override_settings(OUTBOUND_HTTP=NAMED)
def test_nothing_secret_is_logged(
    end: int | str,
    url: str,
    responses: responses_library.RequestsMock,
    records: list[logging.LogRecord],
    clock: FakeClock,
) -> None:
    """Userinfo, query, headers and, of hosts without a name, the path are in no record at INFO or above."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if end == "cut off":
            clock.advance(59)
            raise requests.ReadTimeout(request.url)
        if end == "error":
            raise requests.ConnectionError(request.url)
        status = 503 if end == 200 and len(responses.calls) == 0 else end
        return int(status), {"Set-Cookie": "id=s3cret"}, "s3cret"

    responses.add_callback("GET", url.partition("?")[0].replace("user:passw0rd@", ""), answer)
    headers = {"Authorization": "Bearer s3cret", "Cookie": "id=s3cret", "X-Api-Key": "s3cret"}
    with suppress(requests.RequestException):
        http.get(url, headers=headers, auth=("user", "passw0rd"))
    loud = at(logging.INFO, records) + at(logging.WARNING, records) + at(logging.ERROR, records)
    assert loud or end == 404
    for record in loud:
        everything = f"{record.getMessage()} {vars(record)}"
        assert not [secret for secret in SECRETS if secret in everything]


def test_a_path_is_cut_to_a_sensible_length(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """A long path is shortened in the log."""
    responses.get("https://example.org/" + "x" * 5_000, status=501)
    with override_settings(OUTBOUND_HTTP=NAMED):
        http.get("https://example.org/" + "x" * 5_000)
    (record,) = at(logging.WARNING, records)
    assert len(record.getMessage()) < 400


def test_an_observer_that_raises_affects_no_call(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """The error of an observer is logged; the call and the other observers continue."""
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("the observer's own")

    process.use(lambda: ProcessRegistry(observers=(broken, seen.append)))
    responses.get(URL, status=503)
    assert http.get(URL).status_code == 503
    errors = at(logging.ERROR, records)
    assert len(seen) == len(errors) > 4
    assert all("broken" in record.getMessage() and record.exc_info for record in errors)


def test_an_interrupt_in_an_observer_is_an_interrupt() -> None:
    """Ctrl-C in an observer is raised."""

    def interrupted(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Audience([interrupted]).tell(object())  # type: ignore[arg-type]


def test_a_session_with_a_policy_is_logged_too(
    responses: responses_library.RequestsMock, records: list[logging.LogRecord]
) -> None:
    """A session with a policy of its own is logged too."""
    responses.get(URL, status=503)
    with ResilientSession(Policy(retries=0)) as session:
        session.get(URL)
    assert len(at(logging.WARNING, records)) == 1


@pytest.mark.parametrize("first", ["import core.http", "logging.getLogger('core.http')", "pass"])
def test_a_configuration_that_does_not_name_it_does_not_disable_it(first: str) -> None:
    """Django's default for a site's own LOGGING disables each logger that happens to exist already."""
    script = f"""
        import logging, logging.config
        {first}
        setting = {{"version": 1, "disable_existing_loggers": True, "root": {{"level": "INFO"}}}}
        logging.config.dictConfig(setting)
        import core.http
        logging.config.dictConfig(setting)
        from core.http.log import logger
        assert logging.getLogger("core.http") is logger
        assert logger.isEnabledFor(logging.WARNING)
        seen = []
        handler = logging.Handler()
        handler.emit = seen.append
        logging.getLogger().addHandler(handler)
        logger.warning("still there")
        assert [record.getMessage() for record in seen] == ["still there"]
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
