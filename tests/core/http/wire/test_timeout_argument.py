"""The `timeout=` of a call in all its forms, and the seconds of an attempt."""

from __future__ import annotations

from typing import Any

import pytest
from urllib3.util import Timeout

from core.http.wire.attempt_context import Stage
from core.http.wire.timeout_argument import bounded, is_seconds, part_of


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, 10.0),
        (3, 3),
        (30, 10.0),
        ((3, 30), (3, 10.0)),
        ((None, 2.5), (10.0, 2.5)),
        ("5", "5"),
        (True, True),
        ((1, 2, 3), (1, 2, 3)),
    ],
)
def test_a_timeout_shortens_an_attempt_but_never_lengthens_it(timeout: Any, expected: Any) -> None:
    """Each part is at most the seconds of the attempt; what requests refuses is left for requests to refuse."""
    assert bounded(timeout, 10.0) == expected


@pytest.mark.parametrize(("total", "expected"), [(None, 10.0), (4, 4), (40, 10.0)])
def test_urllib3s_timeout_gets_a_total(total: float | None, expected: float) -> None:
    """The caller's object is not changed, and its connect and read parts stay."""
    given = Timeout(connect=2, read=3, total=total)
    made = bounded(given, 10.0)
    assert (made.total, made.connect_timeout, given.total) == (expected, 2, total)


@pytest.mark.parametrize(
    ("timeout", "of_connect", "of_read"),
    [
        (None, None, None),
        (5, None, None),
        ((2, 3), 2, 3),
        ((None, 3), None, 3),
        (Timeout(connect=2, read=3), 2, 3),
        (Timeout(connect=2, read=3, total=4), None, None),
    ],
)
def test_the_part_that_applied(timeout: Any, of_connect: float | None, of_read: float | None) -> None:
    """The connect part applies until the request is sent, the read part from then on; a total has no parts."""
    assert {part_of(timeout, stage) for stage in (Stage.DNS, Stage.CONNECT, Stage.TLS)} == {of_connect}
    assert {part_of(timeout, stage) for stage in (Stage.SEND, Stage.HEADERS, Stage.BODY)} == {of_read}


@pytest.mark.parametrize(("value", "expected"), [(1, True), (0.5, True), (True, False), ("1", False), (None, False)])
def test_seconds_are_numbers(value: Any, expected: bool) -> None:
    """A bool is no number of seconds, though Python says that it is an int."""
    assert is_seconds(value) is expected
