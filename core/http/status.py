"""How the upstreams stand, for people to look at: what processes share, joined with what this one knows itself.

`status_report` asks the cache itself, once: a process that has made no call shares nothing yet. It changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from .engine.mergeable_state import BreakerSnapshot, GateSnapshot, Transition
from .engine.rate_limit_gate import MAX_CLOSED
from .engine.upstream import Upstream
from .events import OTHER, BreakerState
from .policy import CircuitBreaker
from .process import ProcessRegistry
from .shared import records, upstream_diagnostics
from .shared.background_sync import text_of
from .shared.cache import Cache
from .shared.records import DAY, Record
from .shared.upstream_diagnostics import MOST_HOSTS, UNTRUSTED, Allowance, Diagnostics, Failure
from .upstream_id import UpstreamId

_S = TypeVar("_S", BreakerSnapshot, GateSnapshot)
_Heard = Mapping[UpstreamId, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """How one upstream stands, or one host that no upstream names. Times are seconds since the epoch; None: unknown."""

    name: str
    origin: str
    """ "https://host" where the name is "other", else empty."""
    untrusted: bool = False
    """Of a host without a name: as those calls see it of which users submit the URL."""
    partition: str = ""
    """Whose quota it is about; "": the upstream's own. Breaker and last error are told of the upstream alone."""
    breaker: BreakerState | None
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
        return self.breaker in {BreakerState.OPEN, BreakerState.HALF_OPEN} or self.asked_until is not None

    @property
    def tells_something(self) -> bool:
        return self.in_trouble or self.last_error is not None


@dataclass(frozen=True, slots=True)
class StatusReport:
    at: float
    is_shared: bool
    """It holds what all processes share, not only what this one knows."""
    problem: str | None
    """Why the shared cache could not be read, if there is one and it could not."""
    upstreams: tuple[UpstreamStatus, ...]


def status_report(registry: ProcessRegistry, wall: float | None = None) -> StatusReport:
    """Look at all upstreams with a name, and at those hosts without of which there is something to tell."""
    wall = time.time() if wall is None else wall
    known = registry.known()
    cache = registry.config.shared_cache
    names = (*registry.config.upstreams, OTHER, UNTRUSTED)
    all_recent = {name: registry.diagnostics.of(name) for name in names}
    heard: _Heard = {}
    problem = None
    if cache is not None:
        try:
            told = {
                name: upstream_diagnostics.read(cache.get(upstream_diagnostics.key_of(name)), wall) for name in names
            }
            merged = {name: told[name].merge(all_recent[name], wall) for name in names}
            heard = _records(cache, _subjects(names, merged, known), wall)
            all_recent = merged
        except Exception as exc:  # noqa: BLE001 - caches raise what they like
            problem = text_of(exc)
    is_shared = cache is not None and problem is None
    upstreams = [
        _standing(registry, subject, known.get(subject), heard.get(subject), _told(all_recent, subject), wall)
        for subject in _subjects(names, all_recent, known)
    ]
    named = [each for each in upstreams if each.name != OTHER and (each.in_trouble or not each.partition)]
    others = [each for each in upstreams if each.name == OTHER and each.tells_something]
    others.sort(key=lambda each: (not each.in_trouble, -each.last_error.at if each.last_error else 0.0))
    ours, theirs = ([each for each in others if each.untrusted is untrusted] for untrusted in (False, True))
    return StatusReport(wall, is_shared, problem, (*named, *ours[:MOST_HOSTS], *theirs[:MOST_HOSTS]))


def _told(recent: Mapping[str, Diagnostics], subject: UpstreamId) -> Diagnostics:
    return recent[UNTRUSTED if subject.untrusted else subject.name]


def _records(cache: Cache, subjects: list[UpstreamId], wall: float) -> _Heard:
    return {subject: records.read(cache.get(records.key_of(*subject)), wall) for subject in subjects}


def _subjects(
    names: tuple[str, ...], recent: Mapping[str, Diagnostics], known: Mapping[UpstreamId, Upstream]
) -> list[UpstreamId]:
    """List what is looked at: of the hosts without a name some, for each costs a look."""
    subjects = []
    for name in names:
        if name not in {OTHER, UNTRUSTED}:
            told = {resource.rpartition("/")[0] for resource in recent[name].quotas}  # maybe by other processes only
            mine = {key.partition for key in known if key.name == name}
            subjects += [UpstreamId(name, partition=partition) for partition in sorted({"", *told, *mine})]
    troubled = [subject for subject, upstream in known.items() if subject.name == OTHER and _is_in_trouble(upstream)]
    for name, untrusted in ((OTHER, False), (UNTRUSTED, True)):
        noted = [UpstreamId(OTHER, origin, untrusted) for origin in recent[name].failures]
        down = [subject for subject in troubled if subject.untrusted is untrusted]
        subjects += dict.fromkeys([*noted, *down[-MOST_HOSTS:]])
    return subjects


def _is_in_trouble(upstream: Upstream) -> bool:
    breaker, gate = upstream.snapshots
    return breaker.is_open or gate.asked_until > upstream.clock()


def _standing(
    registry: ProcessRegistry,
    subject: UpstreamId,
    upstream: Upstream | None,
    heard: Record | None,
    told: Diagnostics,
    wall: float,
) -> UpstreamStatus:
    name, origin, untrusted, partition = subject
    record = heard or Record()
    transitions = [told.transitions[origin]] if origin in told.transitions else []
    policy = registry.config.upstreams.get(name, registry.config.default)
    if upstream is not None:
        policy = upstream.policy
        ahead = wall - upstream.clock()
        breaker, gate = upstream.snapshots
        record = record.merge(Record(_shifted(breaker, ahead), _shifted(gate, ahead)))
        last = None if upstream.breaker is None or partition else upstream.breaker.last_transition
        if last is not None:
            transitions.append(last._replace(at=last.at + ahead))
    is_known = upstream is not None or heard is not None
    settings = None if partition else policy.circuit_breaker
    state, found = _breaker(record.breaker, settings, wall) if is_known and settings else (None, BreakerSnapshot())
    closed_until, asked_until = (
        min(record.gate.closed_until, wall + MAX_CLOSED),
        min(record.gate.asked_until, wall + DAY),
    )
    return UpstreamStatus(
        name=name,
        origin=origin,
        untrusted=untrusted,
        partition=partition,
        breaker=state,
        has_breaker=settings is not None,
        since=_since(state, found, transitions),
        next_probe=found.until if state is BreakerState.OPEN else None,
        gate_closed=wall < closed_until if is_known else None,
        closed_until=closed_until if wall < closed_until else None,
        asked_until=asked_until if wall < asked_until else None,
        quotas=told.quotas if not (origin or partition) else {},
        last_error=None if partition else told.failures.get(origin),
    )


def _shifted(snapshot: _S, ahead: float) -> _S:
    """Return a snapshot of this process in wall-clock time; what never changed is as old as can be on every clock."""
    if not any(snapshot):
        return snapshot
    shifted = snapshot.shifted(ahead)
    return shifted if snapshot[0] else shifted.dated(0.0)


def _breaker(snapshot: BreakerSnapshot, settings: CircuitBreaker, wall: float) -> tuple[BreakerState, BreakerSnapshot]:
    if not snapshot.is_open:
        return BreakerState.CLOSED, snapshot
    snapshot = snapshot.at_most(wall, wall + settings.open_max)  # as this process would take it over
    return BreakerState.OPEN if wall < snapshot.until else BreakerState.HALF_OPEN, snapshot


def _since(state: BreakerState | None, snapshot: BreakerSnapshot, transitions: list[Transition]) -> float | None:
    """Return when an outage began, or ended. The snapshot of an open breaker begins with its last probe."""
    if state is None:
        return None
    is_open = state is not BreakerState.CLOSED
    last = max(transitions, default=None)
    if last is not None and last.is_open == is_open:
        return last.at
    return (snapshot.since if is_open else snapshot.changed) or None
