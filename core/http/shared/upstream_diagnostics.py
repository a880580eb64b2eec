"""Diagnostics of an upstream for operators: the last error, the quotas, and when the breaker opened or closed.

No decision depends on diagnostics. Each process records its own, and the background thread that shares state writes
them to the cache, in records of their own: see `upstream_diagnostics_recorder`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from ..engine.mergeable_state import Transition
from ..events import OTHER
from ..outcome import Reason

KEPT = 86_400.0
"""Seconds for which diagnostics are kept."""
MOST_HOSTS = 20
"""Maximum number of other hosts (hosts that are not configured) in the diagnostics. Those with the latest entries are
kept."""
UNTRUSTED = f"{OTHER}.untrusted"
"""The name for hosts in URLs that users submit. It differs from `OTHER`, so that such hosts cannot displace other
hosts."""
MOST_QUOTAS = 20
_AHEAD = 60.0
"""Seconds that the clock of another machine may be ahead. Later entries are refused, because they would remain the
latest for a long time."""
MAX_LENGTHS = (32, 8, 300, 300)
"""Maximum number of characters of a method, a scheme, a host and a path."""
_LARGEST = 10**18


class Failure(NamedTuple):
    """A failed attempt. `at` is a Unix time. As in the log, `path` is empty for hosts that are not configured."""

    at: float
    reason: str
    status: int | None
    method: str
    scheme: str
    host: str
    path: str


class Allowance(NamedTuple):
    """What an upstream announced about a quota. `at` and `reset` are Unix times. None: not announced."""

    at: float
    limit: int | None
    remaining: int | None
    reset: float | None


_T = TypeVar("_T", Failure, Allowance, Transition)


@dataclass(frozen=True)
class Diagnostics:
    """The diagnostics of all upstreams with one name.

    Keys of `failures` and `transitions`: the origin of the host, or "" for a configured upstream. Keys of `quotas`: the
    resource, after the partition and "/" if there is a partition.
    """

    failures: dict[str, Failure] = field(default_factory=dict)
    quotas: dict[str, Allowance] = field(default_factory=dict)
    transitions: dict[str, Transition] = field(default_factory=dict)

    def merge(self, other: Diagnostics, wall: float) -> Diagnostics:
        """Return the latest entries of both, without expired entries."""
        return Diagnostics(
            _latest(self.failures, other.failures, MOST_HOSTS, wall),
            _latest(self.quotas, other.quotas, MOST_QUOTAS, wall),
            _latest(self.transitions, other.transitions, MOST_HOSTS, wall),
        )

    @property
    def plain(self) -> tuple[dict[str, tuple[Any, ...]], ...]:
        """The value to store. It consists of plain types, so that processes of other releases can load it."""
        return tuple(
            {key: tuple(value) for key, value in values.items()}
            for values in (self.failures, self.quotas, self.transitions)
        )


def read(value: object, wall: float) -> Diagnostics:
    """Return the diagnostics in a value of the cache; empty if the value is invalid or has times in the future."""
    if not isinstance(value, tuple | list) or len(value) != 3:
        return Diagnostics()
    try:
        failures, quotas, transitions = value
        found = Diagnostics(
            {_text(key, 320): _failure(*each) for key, each in _few(failures, MOST_HOSTS)},
            {_text(key, 81): _allowance(*each) for key, each in _few(quotas, MOST_QUOTAS)},
            {_text(key, 320): _transition(*each) for key, each in _few(transitions, MOST_HOSTS)},
        )
    except (TypeError, ValueError):
        return Diagnostics()
    moments = [each[0] for values in found.plain for each in values.values()]
    return found.merge(Diagnostics(), wall) if max(moments, default=0.0) <= wall + _AHEAD else Diagnostics()


def key_of(name: str) -> str:
    return f"core.http.news:1:{name}"


def _latest(one: dict[str, _T], other: dict[str, _T], most: int, wall: float) -> dict[str, _T]:
    merged = dict(one)
    for key, value in other.items():
        if key not in merged or _is_later(value, merged[key]):
            merged[key] = value
    young = [key for key, value in merged.items() if value.at > wall - KEPT]
    if len(young) > most:
        young = sorted(young, key=lambda key: (merged[key].at, key))[-most:]
    return {key: merged[key] for key in young}


def _is_later(one: Failure | Allowance | Transition, other: Failure | Allowance | Transition) -> bool:
    if one.at != other.at:
        return one.at > other.at
    return repr(one) > repr(other)  # an arbitrary choice that is the same in all processes


def _few(values: object, most: int) -> Iterable[tuple[Any, Any]]:
    if not isinstance(values, dict) or len(values) > most:
        raise TypeError(values)
    return values.items()


def _failure(at: object, reason: object, status: object, *target: object) -> Failure:
    texts = [_text(text, most) for text, most in zip(target, MAX_LENGTHS, strict=True)]
    return Failure(_moment(at), Reason(_text(reason, 40)).value, _whole(status), *texts)


def _allowance(at: object, limit: object, remaining: object, reset: object) -> Allowance:
    return Allowance(_moment(at), _whole(limit), _whole(remaining), None if reset is None else _moment(reset))


def _transition(at: object, is_open: object) -> Transition:
    if not isinstance(is_open, bool):
        raise TypeError(is_open)
    return Transition(_moment(at), is_open)


def _moment(value: object) -> float:
    if not isinstance(value, float) or not 0 <= value <= 4e9:  # the range of valid dates; the check excludes NaN too
        raise ValueError(value)
    return value


def _whole(value: object) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < _LARGEST):
        raise ValueError(value)
    return value


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ValueError(value)
    return value
