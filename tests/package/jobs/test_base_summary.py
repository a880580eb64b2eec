"""What every run counts and prints."""

from __future__ import annotations

from core.http import process
from core.http.events import AttemptEnded, BackoffSource, RetryStarted, Target
from core.http.outcome import Outcome, Reason, Result
from core.http.testing import OutboundHTTP
from package.jobs.base_summary import BaseSummary, printable

TARGET = Target("GET", "https", "a.test", "/")


def attempt(status: int | None) -> AttemptEnded:
    return AttemptEnded("a", TARGET, Outcome(Result.SUCCESS, status=status), 0.5)


def test_attempts_and_retries_are_counted(outbound_http: OutboundHTTP) -> None:
    """A summary counts the attempts, the 304s, the retries and their backoff during the run, and no others."""
    summary = BaseSummary(tried=2)
    emit = process.current().emit
    with summary.measured():
        for event in (attempt(304), attempt(200), attempt(None), AttemptEnded("a", TARGET, None, 0.5)):
            emit(event)
        for waited in (1.0, 2.25):
            emit(RetryStarted("a", TARGET, Reason.HTTP_5XX, waited, BackoffSource.COMPUTED))
        outbound_http.clock.advance(60.25)
    emit(attempt(304))
    assert (summary.attempts, summary.unchanged, summary.retries) == (3, 1, 2)
    assert summary.cost("packages") == "2 packages in 60.2 s; 3 attempts, 2 retries, 3.2 s lost to backoff"


def test_seconds_in_json_are_rounded() -> None:
    """JSON has milliseconds."""
    figures = BaseSummary(seconds=1.23456, backoff_seconds=2.34567).as_dict()
    assert (figures["seconds"], figures["backoff_seconds"]) == (1.235, 2.346)


def test_control_characters_are_not_printed() -> None:
    """Text of servers and users cannot move the cursor, clear the screen or begin another line of a log."""
    assert printable("naïve\n\x1b[2J 文") == "naïve??[2J 文"
