"""How the upstreams stand, for people to look at: what processes share, joined with what this one knows itself.

`survey` asks the cache itself, once, for a process that has made no call shares nothing yet. It changes nothing there,
nor here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from core.http import exchange, news
from core.http.breaker import State
from core.http.engine import OTHER, Upstream
from core.http.exchange import Cache, Record
from core.http.facts import NOTHING, Fact, Turn
from core.http.gate import LONGEST
from core.http.news import MOST_HOSTS, Allowance, Failure, News
from core.http.policy import CircuitBreaker
from core.http.registry import Registry
from core.http.shared import text_of

_DAY = 86_400.0
_Heard = Mapping[tuple[str, str], Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one upstream stands, or one host that no upstream names. Times are seconds since the epoch; None: unknown."""

    name: str
    origin: str
    """ "https://host" where the name is "other", else empty."""
    breaker: State | None
    """Half-open: its time is up, and the next call is the probe, unless that is on its way."""
    has_breaker: bool
    since: float | None
    """Of the breaker: since when it is closed, or not."""
    next_probe: float | None
    """None unless it is open."""
    gate_closed: bool | None
    closed_until: float | None
    """None unless the gate is closed."""
    asked_until: float | None
    """Until when the upstream asked to be left alone: a gate opens after an hour, for one call at a time."""
    quotas: Mapping[str, Allowance]
    """By resource, as the upstream calls it; empty: it has one quota, or does not say."""
    last_error: Failure | None

    @property
    def in_trouble(self) -> bool:
        """Say whether not every call passes."""
        return self.breaker in {State.OPEN, State.HALF_OPEN} or self.asked_until is not None

    @property
    def tells_something(self) -> bool:
        return self.in_trouble or self.last_error is not None


@dataclass(frozen=True, slots=True)
class Survey:
    at: float
    is_shared: bool
    """It holds what all processes share, not only what this one knows."""
    problem: str | None
    """Why the shared cache could not be read, if there is one and it could not."""
    standings: tuple[Standing, ...]


def survey(registry: Registry, wall: float | None = None) -> Survey:
    """Look at all upstreams with a name, and at those hosts without of which there is something to tell."""
    wall = time.time() if wall is None else wall
    known = registry.known()
    cache = registry.config.shared_cache
    names = (*registry.config.upstreams, OTHER)
    all_news = {name: registry.news.of(name) for name in names}
    heard: _Heard = {}
    problem = None
    if cache is not None:
        try:
            told = {name: news.read(cache.get(news.key_of(name)), wall) for name in names}
            merged = {name: told[name].merge(all_news[name], wall) for name in names}
            heard = _records(cache, _subjects(names, merged[OTHER], known), wall)
            all_news = merged
        except Exception as exc:  # noqa: BLE001 - caches raise what they like
            problem = text_of(exc)
    is_shared = cache is not None and problem is None
    standings = [
        _standing(registry, subject, known.get(subject), heard.get(subject), all_news[subject[0]], wall)
        for subject in _subjects(names, all_news[OTHER], known)
    ]
    named = [standing for standing in standings if standing.name != OTHER]
    others = [standing for standing in standings if standing.name == OTHER and standing.tells_something]
    others.sort(key=lambda each: (not each.in_trouble, -each.last_error.at if each.last_error else 0.0))
    return Survey(wall, is_shared, problem, (*named, *others[:MOST_HOSTS]))


def _records(cache: Cache, subjects: list[tuple[str, str]], wall: float) -> _Heard:
    return {subject: exchange.read(cache.get(exchange.key_of(*subject)), wall) for subject in subjects}


def _subjects(names: tuple[str, ...], others: News, known: Mapping[tuple[str, str], Upstream]) -> list[tuple[str, str]]:
    """List what is looked at, by name and origin: of the hosts without a name some, for each costs a look."""
    troubled = [subject for subject, upstream in known.items() if subject[0] == OTHER and _is_in_trouble(upstream)]
    noted = [(OTHER, origin) for origin in others.failures]
    return [(name, "") for name in names if name != OTHER] + list(dict.fromkeys([*noted, *troubled[-MOST_HOSTS:]]))


def _is_in_trouble(upstream: Upstream) -> bool:
    breaker, gate = upstream.facts
    return breaker.last > breaker.first or gate.last > upstream.clock()


def _standing(
    registry: Registry,
    subject: tuple[str, str],
    upstream: Upstream | None,
    heard: Record | None,
    told: News,
    wall: float,
) -> Standing:
    name, origin = subject
    record, turns = heard or Record(), [told.turns[origin]] if origin in told.turns else []
    policy = registry.config.upstreams.get(name, registry.config.default)
    if upstream is not None:
        policy = upstream.policy
        ahead = wall - upstream.clock()
        here = upstream.facts
        record = record.merge(Record(*(_shifted(fact, ahead) for fact in here)))
        if upstream.turned is not None:
            turns.append(upstream.turned._replace(at=upstream.turned.at + ahead))
    is_known = upstream is not None or heard is not None
    settings = policy.circuit_breaker
    state, fact = _breaker(record.breaker, settings, wall) if is_known and settings else (None, NOTHING)
    closed_until, asked_until = min(record.gate.first, wall + LONGEST), min(record.gate.last, wall + _DAY)
    return Standing(
        name=name,
        origin=origin,
        breaker=state,
        has_breaker=settings is not None,
        since=_since(state, fact, turns),
        next_probe=fact.last if state is State.OPEN else None,
        gate_closed=wall < closed_until if is_known else None,
        closed_until=closed_until if wall < closed_until else None,
        asked_until=asked_until if wall < asked_until else None,
        quotas=told.quotas if not origin else {},
        last_error=told.failures.get(origin),
    )


def _shifted(fact: Fact, ahead: float) -> Fact:
    """Return a fact of this process in wall-clock time; what never changed is as old as can be on every clock."""
    if fact == NOTHING:
        return NOTHING
    shifted = fact.shifted(ahead)
    return shifted if fact.changed else shifted._replace(changed=0.0)


def _breaker(fact: Fact, settings: CircuitBreaker, wall: float) -> tuple[State, Fact]:
    if fact.last <= fact.first:
        return State.CLOSED, fact
    fact = fact.at_most(wall, wall + settings.open_max)  # as this process would take it over
    return State.OPEN if wall < fact.last else State.HALF_OPEN, fact


def _since(state: State | None, fact: Fact, turns: list[Turn]) -> float | None:
    """Say when an outage began, or ended. The fact of an open breaker begins with its last probe."""
    if state is None:
        return None
    is_open = state is not State.CLOSED
    turn = max(turns, default=None)
    if turn is not None and turn.is_open == is_open:
        return turn.at
    return (fact.first if is_open else fact.changed) or None
