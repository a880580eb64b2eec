"""Diagnostics that processes share: last errors, quotas, and since when a breaker is open."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http.engine.call import Call
from core.http.engine.mergeable_state import Transition
from core.http.events import AttemptEnded, QuotaSeen, Target
from core.http.origin import Origin
from core.http.outcome import Outcome, Quota, Reason, Result, failed
from core.http.process import ProcessRegistry
from core.http.registry import Config, Runtime
from core.http.shared.upstream_diagnostics import (
    KEPT,
    MOST_HOSTS,
    UNTRUSTED,
    Allowance,
    Diagnostics,
    Failure,
    key_of,
    read,
)
from core.http.shared.upstream_diagnostics_recorder import DiagnosticsRecorder
from core.http.testing import FakeClock
from core.http.upstream_id import UpstreamId
from tests.core.http.engine.outage import answer
from tests.core.http.engine.world import BUSY, GET, OK
from tests.core.http.forked import run
from tests.core.http.shared.fleet import FRAGILE, FakeCache, Fleet

KEY = key_of("example")
NOW = 1_700_000_000.0
DETAILS = ("http_5xx", 503, "GET", "https", "pypi.org", "/simple/")
MOMENTS = st.integers(0, 3).map(lambda number: NOW + number)
FAILURES = st.builds(Failure, MOMENTS, *(st.just(detail) for detail in DETAILS[:2]), *(st.sampled_from("ab"),) * 4)
HOSTS = st.sampled_from([f"https://{number}" for number in range(30)])
NEWS = st.builds(
    Diagnostics,
    st.dictionaries(HOSTS, FAILURES, max_size=MOST_HOSTS),
    st.dictionaries(st.sampled_from(["core", "search"]), st.builds(Allowance, MOMENTS, st.just(5), st.none(), MOMENTS)),
    st.dictionaries(HOSTS, st.builds(Transition, MOMENTS, st.booleans()), max_size=MOST_HOSTS),
)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def recorder() -> DiagnosticsRecorder:
    return DiagnosticsRecorder(wall=FakeClock(NOW))


def failure_of(name: str = "pypi", outcome: Outcome = BUSY, **target: Any) -> AttemptEnded:
    return AttemptEnded(name, replace(Target("GET", "https", "pypi.org", "/simple/"), **target), outcome, 0.1)


# What is recorded


def test_the_last_failed_attempt_is_recorded(recorder: DiagnosticsRecorder) -> None:
    """The last failure is recorded even if a retry succeeded; successes, 404s and cancelled attempts change nothing."""
    recorder.observe(failure_of(outcome=failed(Reason.DNS, "NameResolutionError", transient=True)))
    recorder.observe(failure_of())
    for outcome in (OK, Outcome(Result.CLIENT_ERROR, status=404), None):
        recorder.observe(replace(failure_of(), outcome=outcome))
    assert recorder.of("pypi").failures == {"": Failure(NOW, *DETAILS)}


def test_of_hosts_without_a_name_no_path_is_noted(recorder: DiagnosticsRecorder) -> None:
    """Errors of unnamed hosts have no path, because it may be a secret; each host has its own last error."""
    recorder.observe(failure_of("other", host="hooks.test:8443", path="/T0/secret"))
    recorder.observe(failure_of("other", host="b.test"))
    noted = recorder.of("other").failures
    assert list(noted) == ["https://hooks.test:8443", "https://b.test"]
    assert noted["https://hooks.test:8443"] == Failure(NOW, "http_5xx", 503, "GET", "https", "hooks.test:8443", "")


def test_nothing_grows_without_bound(recorder: DiagnosticsRecorder) -> None:
    """Of any number of hosts and resources, the last twenty of each are kept."""
    for number in range(10_000):
        recorder.observe(failure_of("other", host=f"{number}.test"))
        recorder.observe(QuotaSeen("github", Quota(5000, number, 60.0, f"r{number}")))
    assert list(recorder.of("other").failures) == [f"https://{number}.test" for number in range(9980, 10_000)]
    assert list(recorder.of("github").quotas) == [f"r{number}" for number in range(9980, 10_000)]
    assert recorder.of("other").quotas == {}


def test_a_host_that_fails_again_is_not_the_oldest(recorder: DiagnosticsRecorder) -> None:
    """Of too many hosts those are dropped that have not failed for the longest time."""
    for number in (*range(MOST_HOSTS), 0, MOST_HOSTS):
        recorder.observe(failure_of("other", host=f"{number}.test"))
    assert list(recorder.of("other").failures) == [f"https://{number}.test" for number in (*range(2, 20), 0, 20)]


def test_hosts_of_users_push_out_no_other(recorder: DiagnosticsRecorder) -> None:
    """Failures of untrusted hosts have limits of their own, so they do not displace those of trusted ones."""
    recorder.observe(failure_of("other", host="ours.test"))
    recorder.note_transition(UpstreamId("other", "https://ours.test"), Transition(NOW, True))
    for number in range(1000):
        recorder.observe(failure_of("other", host=f"{number}.test", path="/secret", untrusted=True))
        recorder.note_transition(UpstreamId("other", f"https://{number}.test", untrusted=True), Transition(NOW, True))
    ours, theirs = recorder.of("other"), recorder.of(UNTRUSTED)
    assert list(ours.failures) == list(ours.transitions) == ["https://ours.test"]
    assert len(theirs.failures) == len(theirs.transitions) == MOST_HOSTS
    assert theirs.failures["https://999.test"].path == ""


def test_quotas_are_noted_by_resource(recorder: DiagnosticsRecorder) -> None:
    """Quotas are recorded by resource, with their reset; odd names are `other`, and unnamed hosts have none."""
    recorder.observe(QuotaSeen("github", Quota(5000, 12, 90.0, "core")))
    recorder.observe(QuotaSeen("github", Quota(None, 3, None, "\x1b[2J")))
    recorder.observe(QuotaSeen("gitlab", Quota(400, 399, 60.0, None)))
    recorder.observe(QuotaSeen("forge", Quota(400, 399, 60.0, "core"), "token"))
    recorder.observe(QuotaSeen("forge", Quota(400, 399, 60.0, None), "token"))
    recorder.observe(QuotaSeen("other", Quota(400, 399, 60.0, None)))
    assert recorder.of("github").quotas == {
        "core": Allowance(NOW, 5000, 12, NOW + 90),
        "other": Allowance(NOW, None, 3, None),
    }
    assert recorder.of("gitlab").quotas == {"": Allowance(NOW, 400, 399, NOW + 60)}
    assert list(recorder.of("forge").quotas) == ["token/core", "token"]
    assert recorder.of("other") == Diagnostics()


def test_control_characters_are_not_recorded(recorder: DiagnosticsRecorder) -> None:
    """Escape sequences and line breaks are replaced, long texts are cut, and the record can be read again."""
    recorder.observe(failure_of(host="h" * 1000, path="/\x1b[2J\r\n\u202e" + "x" * 1000))
    noted = recorder.of("pypi").failures[""]
    assert (len(noted.host), len(noted.path)) == (300, 300)
    assert noted.path.startswith("/\ufffd[2J\ufffd\ufffd\ufffdxxx")
    assert read(recorder.of("pypi").plain, NOW) == recorder.of("pypi")


# Merging and reading


@given(one=NEWS, other=NEWS)
def test_merging_needs_no_order(one: Diagnostics, other: Diagnostics) -> None:
    """Records merged in any order give the same result, which is no larger than that of one process."""
    merged = one.merge(other, NOW)
    assert merged == other.merge(one, NOW) == merged.merge(other, NOW) == merged.merge(one, NOW)
    assert len(merged.failures) <= MOST_HOSTS
    assert read(merged.plain, NOW) == merged


def test_the_latest_entry_wins_and_old_ones_are_dropped() -> None:
    """Of each entry, the latest one is kept; entries older than a day are dropped."""
    early, late = Failure(NOW, *DETAILS), Failure(NOW + 1, *DETAILS)
    one, other = (
        Diagnostics({"": early}, transitions={"": Transition(NOW + 5, True)}),
        Diagnostics({"": late}, transitions={"": Transition(NOW, False)}),
    )
    assert one.merge(other, NOW) == Diagnostics({"": late}, transitions={"": Transition(NOW + 5, True)})
    earlier, later = Diagnostics({"": Failure(9.0, *DETAILS)}), Diagnostics({"": Failure(10.0, *DETAILS)})
    assert earlier.merge(later, 10.0) == later.merge(earlier, 10.0) == later
    assert one.merge(other, NOW + 1 + KEPT) == Diagnostics(transitions={"": Transition(NOW + 5, True)})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(_JSON | st.tuples(*[st.dictionaries(st.text(max_size=5), _JSON, max_size=2)] * 3))
def test_any_content_of_the_cache_can_be_read(value: object) -> None:
    """For any content of the cache, the record has plausible times, or is ignored."""
    news = read(value, NOW)
    assert all(moment <= NOW + 60 for moment in (each[0] for values in news.plain for each in values.values()))


GOOD: Any = ({"": (NOW, *DETAILS)}, {"core": (NOW, 5000, 0, NOW + 9)}, {"": (NOW, True)})


@pytest.mark.parametrize(
    "bad",
    [
        None,
        (*GOOD, {}),
        GOOD[:2],
        ({"": (NOW + 61, *DETAILS)}, {}, {}),
        ({"": (math.nan, *DETAILS)}, {}, {}),
        ({"": (1e300, *DETAILS)}, {}, {}),
        ({"": (NOW, "unheard_of", *DETAILS[1:])}, {}, {}),
        ({"": (NOW, "http_5xx", "503", *DETAILS[2:])}, {}, {}),
        ({"": (NOW, *DETAILS[:-1], "/\x1b[2J")}, {}, {}),
        ({"": (NOW, *DETAILS[:-1], "/" * 301)}, {}, {}),
        ({"": (NOW, *DETAILS, "more")}, {}, {}),
        ({f"https://{number}": (NOW, *DETAILS) for number in range(21)}, {}, {}),
        ({}, {"core": (NOW, True, 12, None)}, {}),
        ({}, {"core": (NOW, -1, 12, None)}, {}),
        ({}, {"core": (NOW, 5000, 12, 1e300)}, {}),
        ({}, {"core": (NOW, 5000, 12, math.nan)}, {}),
        ({}, {"core": (NOW, 10**18, 12, None)}, {}),
        ({}, {}, {"": (NOW, 1)}),
        ({}, {}, {3: (NOW, True)}),
        ({}, {}, {("a",): (NOW, True)}),
    ],
)
def test_invalid_records_are_ignored(bad: object) -> None:
    """A record with another shape, a future time, too long texts or too many entries counts as empty."""
    assert read(GOOD, NOW) == read(list(GOOD), NOW) != Diagnostics()
    assert read(bad, NOW) == Diagnostics()


# Telling


def test_others_hear_of_it_within_a_round(fleet: Fleet) -> None:
    """The last error and the quota are in the cache after the next exchange, and neither is a call held up."""
    process = fleet.process()
    process.attempt(answer(503, X_RateLimit_Limit="60", X_RateLimit_Remaining="7", X_RateLimit_Reset="30"))
    assert fleet.cache.values == {}
    process.exchange()
    heard = read(fleet.cache.values[KEY], fleet.wall.now)
    assert heard.failures[""].status == 503
    assert heard.quotas == {"": Allowance(fleet.wall.now, 60, 7, fleet.wall.now + 30)}
    assert fleet.cache.timeouts[KEY] == KEPT


def test_the_start_of_an_outage_is_that_of_the_first_process(fleet: Fleet) -> None:
    """Failed probes and other processes do not change the start of an outage; an answered probe ends it."""
    first, second = fleet.process(1000), fleet.process(77)
    began = fleet.wall.now
    first.find_it_down()
    second.exchange()
    fleet.wall.advance(15)
    probe = second.probe()
    assert probe is not None
    probe.end(BUSY)
    for process in (second, first):
        process.exchange()
    assert read(fleet.cache.values[KEY], fleet.wall.now).transitions == {"": Transition(pytest.approx(began), True)}
    fleet.wall.advance(30)
    probe = first.probe()
    assert probe is not None
    probe.end(OK)
    first.exchange()
    assert read(fleet.cache.values[KEY], fleet.wall.now).transitions == {
        "": Transition(pytest.approx(fleet.wall.now), False)
    }


def test_two_processes_that_write_at_once(fleet: Fleet) -> None:
    """A process whose record was overwritten reads it again, and writes its entries once more."""
    first, second = fleet.process(), fleet.process()
    first.attempt()
    fleet.wall.advance(0.1)
    second.diagnostics.observe(QuotaSeen("example", Quota(5000, 12, 90.0, "core")))
    plain = fleet.cache.get

    def get(key: str) -> object:
        value = plain(key)
        if key == KEY:
            fleet.cache.get = plain  # type: ignore[method-assign]
            second.exchange()
        return value

    fleet.cache.get = get  # type: ignore[method-assign]
    first.exchange()  # between its read and its write, the second process writes its record
    assert read(fleet.cache.values[KEY], fleet.wall.now).quotas == {}
    for process in (first, second, first):
        process.exchange()
    heard = read(fleet.cache.values[KEY], fleet.wall.now)
    assert (list(heard.failures), list(heard.quotas)) == ([""], ["core"])


def test_nothing_new_costs_nothing(fleet: Fleet) -> None:
    """Diagnostics are neither read nor written while there are none."""
    process = fleet.process()
    process.attempt()
    for _ in range(2):
        process.exchange()
    fleet.cache.asked.clear()
    process.attempt(OK)
    process.exchange()
    assert fleet.cache.asked == ["get"]  # of the breaker and the gate


def test_errors_during_an_outage_of_the_cache_are_written_later(fleet: Fleet) -> None:
    """After an outage of the cache, the last error is written."""
    process = fleet.process()
    process.attempt()
    fleet.cache.error = OSError("down")
    for _ in range(3):
        process.exchange()
    fleet.cache.error = None
    process.exchange()
    assert read(fleet.cache.values[KEY], fleet.wall.now).failures[""].status == 503


def test_what_could_not_be_written_is_written_later(recorder: DiagnosticsRecorder) -> None:
    """An error in the middle of a round does not mean that the others know."""
    cache = FakeCache()
    recorder.observe(failure_of())
    cache.error = OSError("down")
    with pytest.raises(OSError, match="down"):
        recorder.tell(cache)
    cache.error = None
    recorder.tell(cache)
    assert read(cache.values[key_of("pypi")], NOW) == recorder.of("pypi")


def test_news_that_cannot_be_read_stop_nothing(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Diagnostics in another format are replaced, and breakers are still shared."""
    first, second = fleet.process(), fleet.process()
    fleet.cache.values[KEY] = "something else"
    fleet.cache.unreadable = KEY
    first.find_it_down()
    second.exchange()
    assert second.state == "open"
    assert "cache" not in caplog.text
    fleet.cache.unreadable = ""
    assert read(fleet.cache.values[KEY], fleet.wall.now).failures[""].status == 503


def test_records_of_breakers_have_the_format_of_the_last_release(fleet: Fleet) -> None:
    """A process of the last release can read and write the records of breakers, and ignores the diagnostics."""
    fleet.process().find_it_down()
    record = fleet.cache.values["core.http:1:example"]
    assert type(record) is tuple
    assert len(record) == 6
    assert sorted(fleet.cache.values) == ["core.http.news:1:example", "core.http:1:example"]


# In the process


def test_errors_of_sessions_with_a_policy_of_their_own_are_recorded_too() -> None:
    """Such errors are recorded for the upstream, but the breaker of the session is not shown."""
    upstreams = ProcessRegistry(Config(default=FRAGILE), runtime=Runtime())
    origin = Origin("https", "example.org", 443)
    call = Call(upstreams.derive(FRAGILE, None, None).upstream(origin), GET)
    call.begin()
    call.end(BUSY)
    assert list(upstreams.diagnostics.of("other").failures) == ["https://example.org"]
    assert upstreams.known() == {}


def test_threads_lose_nothing(recorder: DiagnosticsRecorder) -> None:
    """Eight threads that record errors at once lose none."""

    def note(thread: int) -> None:
        for number in range(500):
            recorder.observe(failure_of("other", host=f"{thread}-{number}.test"))

    threads = [threading.Thread(target=note, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(recorder.of("other").failures) <= MOST_HOSTS
    assert len(recorder.of("other").failures) == MOST_HOSTS


def test_a_forked_child_has_news_of_its_own() -> None:
    """A forked child inherits no diagnostics, and does not wait for a lock of another thread."""
    printed = run(
        """
        from core.http.events import AttemptEnded, Target
        from core.http.outcome import Reason, failed

        upstreams = ProcessRegistry()
        event = AttemptEnded("pypi", Target("GET", "https", "h", "/"), failed(Reason.DNS, "", transient=True), 0.1)
        upstreams.emit(event)
        upstreams.diagnostics._lock.acquire()

        def use():
            print(len(upstreams.diagnostics.of("pypi").failures))
            upstreams.emit(event)
            print(len(upstreams.diagnostics.of("pypi").failures))

        child(use)
        """
    )
    assert printed == ["0", "1", "child 0"]


def test_an_error_in_the_diagnostics_reaches_no_caller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the diagnostics is logged, and the call continues."""

    def fail(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(DiagnosticsRecorder, "_note_failure", fail)
    upstreams = ProcessRegistry(runtime=Runtime())
    call = Call(upstreams.upstream(Origin("https", "example.org", 443)), GET)
    call.begin()
    call.end(BUSY)
    assert "failed on AttemptEnded" in caplog.text
