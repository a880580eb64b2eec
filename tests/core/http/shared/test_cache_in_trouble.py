"""A cache that fails, hangs or sends garbage stops no call, and its failures are logged once."""

from __future__ import annotations

import logging

import pytest

from core.http.shared.background_sync import INTERVAL
from core.http.shared.records import read
from tests.core.http.shared.fleet import Fleet, Several, lines


def test_an_outage_of_the_cache_is_said_once(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """An outage of the cache is one WARNING and one INFO, with growing pauses between requests to it."""
    caplog.set_level(logging.INFO, "core.http")
    process = fleet.process()
    fleet.cache.error = ConnectionError("Error 111 connecting to 127.0.0.1:6379")
    pauses = []
    for _ in range(6):
        process.exchange()
        pauses.append(process.shared._due - process.clock())
    fleet.cache.error = None
    process.exchange()
    process.exchange()
    assert pauses == [1, 2, 4, 5, 5, 5]
    assert process.shared._due - process.clock() == INTERVAL
    assert process.shared._pause == INTERVAL  # the next outage begins with short pauses again
    why = "ConnectionError: Error 111 connecting to 127.0.0.1:6379"
    assert lines(caplog) == [
        ("WARNING", f"The shared cache failed ({why}): this process continues with its own state"),
        ("INFO", "The shared cache works again"),
    ]


def test_nothing_secret_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """A cache client's error with its address does not write the password to the log."""
    fleet.cache.error = ValueError("cannot reach redis://user:pass/w@rd@host:1/0?password=s3cret")
    fleet.process().exchange()
    assert "pass/w" not in caplog.text
    assert "s3cret" not in caplog.text
    assert "redis:***host:1/0***" in caplog.text


def test_part_of_a_password_is_not_logged(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """A password with a slash is not logged in part, although its beginning could be parsed as the port."""
    fleet.cache.error = ValueError("Port could not be cast to integer value as 's3cret'")
    fleet.process().exchange()
    assert "(ValueError: Port could not be cast to integer value as ***)" in caplog.text


def test_failures_do_not_hurry_a_cache_that_is_down(fleet: Fleet) -> None:
    """A failing cache is read with growing pauses, however many upstream failures there are."""
    process = fleet.process()
    fleet.cache.error = OSError("down")
    process.exchange()
    fleet.cache.asked.clear()
    process.attempt()
    process.shared.step()
    assert fleet.cache.asked == []


def test_a_slow_cache_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """One that answers so slowly that news are old is as good as none, and operators should know."""
    caplog.set_level(logging.INFO, "core.http")
    process = fleet.process()
    plain = fleet.cache.get
    fleet.cache.get = lambda key: (fleet.wall.advance(3), plain(key))[1]  # type: ignore[method-assign]
    process.exchange()
    assert [(level, "took 3.0 s" in text) for level, text in lines(caplog)] == [("WARNING", True)]


def test_a_record_that_cannot_be_read_stops_no_other(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be read is logged, and the other upstreams are exchanged."""
    several = Several(fleet)
    several.others_find_all_down()
    fleet.cache.unreadable = several.keys[0]
    several.shared.step()
    assert several.down == [1, 2]
    assert [(level, "unsupported pickle protocol: 9" in text) for level, text in lines(caplog)] == [("WARNING", True)]


def test_of_several_errors_the_first_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Those after it may be its consequence."""
    several = Several(fleet)

    def get(key: str) -> object:
        raise ValueError(f"cannot read {key}")

    fleet.cache.get = get  # type: ignore[method-assign]
    several.shared.step()
    assert [several.keys[0] in text for _, text in lines(caplog)] == [True]


def test_a_record_that_makes_no_sense_is_ignored(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The log says once under which key; the other upstreams are exchanged, and nothing counts as a failure."""
    several = Several(fleet)
    several.others_find_all_down()
    fleet.cache.values[several.keys[0]] = b"\x80\x05."
    for _ in range(3):
        several.shared._due = 0.0
        several.shared.step()
    assert several.down == [1, 2]
    text = f"The shared cache holds no valid state under {several.keys[0]}: its value is ignored"
    assert [line for line in lines(caplog) if "cache" in line[1]] == [("WARNING", text)]
    first = several.upstreams["https://0.test"]
    first.gate.close(first.clock(), 60.0)
    several.shared._due = 0.0
    several.shared.step()
    assert read(fleet.cache.values[several.keys[0]], fleet.wall.now).is_in_force(fleet.wall.now)


def test_a_cache_that_hangs_is_not_asked_for_each_upstream(fleet: Fleet) -> None:
    """If the cache's error took long, the other upstreams are read in the next round."""
    several = Several(fleet)
    fleet.cache.error = TimeoutError("no answer")
    ask = fleet.cache._ask
    fleet.cache._ask = lambda what: (fleet.wall.advance(5), ask(what))[1]  # type: ignore[method-assign]
    several.shared.step()
    assert fleet.cache.asked == ["get"]


class Mute(Exception):  # noqa: N818 - its name does not matter
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_error_without_words_is_an_error(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """If the text of an error cannot be read, its class is logged."""
    fleet.cache.error = Mute()
    fleet.process().exchange()
    assert [(level, "(Mute)" in text) for level, text in lines(caplog)] == [("WARNING", True)]


def test_a_failing_logging_filter_stops_nothing(fleet: Fleet) -> None:
    """A logging filter that raises ends neither the thread nor a call."""

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError(record.levelname)

    process = fleet.process()
    logger = logging.getLogger("core.http")
    logger.addFilter(refuse)
    try:
        fleet.cache.error = OSError("down")
        process.exchange()
        assert process.shared._failing
        fleet.cache.error = None
        process.exchange()
        assert not process.shared._failing
    finally:
        logger.removeFilter(refuse)
