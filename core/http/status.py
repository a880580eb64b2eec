"""The state of the upstreams, for operators: the state that processes share, merged with the state of this process.

`status_report` reads the shared cache itself, because a process that has made no call has not read it yet. It writes
nothing to the cache.
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
    """The state of one configured upstream, or of one other host. Times are Unix times; None: unknown."""

    name: str
    origin: str
    """ "https://host" if the name is "other", otherwise empty."""
    untrusted: bool = False
    """True: the state for URLs that users submit, which is separate even for the same host."""
    partition: str = ""
    """Name of the credential whose gate the object describes; "": the object describes the upstream itself. A partition
    has no breaker and no last error of its own."""
    breaker: BreakerState | None
    """Half-open: the next call is the probe, or a probe is in flight."""
    has_breaker: bool
    since: float | None
    """When the outage began or, if the breaker is closed, when it ended."""
    next_probe: float | None
    """None unless the breaker is open."""
    gate_closed: bool | None
    closed_until: float | None
    """None unless the gate is closed."""
    asked_until: float | None
    """End of the pause that the upstream asked for; None: there is no such pause. After at most an hour, the gate
    allows one call at a time."""
    quotas: Mapping[str, Allowance]
    """Quotas of all partitions; empty in the status of a partition. Keys: the name that the upstream gives the resource
    ("" if it gives none), after the partition and "/" if there is a partition."""
    last_error: Failure | None

    @property
    def in_trouble(self) -> bool:
        """Whether the breaker is not closed, or the upstream has asked for a pause that is not over."""
        return self.breaker in {BreakerState.OPEN, BreakerState.HALF_OPEN} or self.asked_until is not None

    @property
    def tells_something(self) -> bool:
        return self.in_trouble or self.last_error is not None


@dataclass(frozen=True, slots=True)
class StatusReport:
    at: float
    is_shared: bool
    """Whether the report contains the state of all processes, not only of this one."""
    problem: str | None
    """Why the shared cache could not be read; None: it was read, or there is none."""
    upstreams: tuple[UpstreamStatus, ...]


def status_report(registry: ProcessRegistry, wall: float | None = None) -> StatusReport:
    """Return the state of all configured upstreams, and of other hosts that are down or had an error in the past day.

    :param wall: the current Unix time; default: `time.time()`.
    """
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
        except Exception as exc:  # noqa: BLE001 - cache backends raise exceptions of any class
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
    """List the upstreams of the report. The number of other hosts is limited, because each costs a cache read."""
    subjects = []
    for name in names:
        if name not in {OTHER, UNTRUSTED}:
            told = {resource.rpartition("/")[0] for resource in recent[name].quotas}  # quotas of other processes too
            mine = {key.partition for key in known if key.name == name}
            subjects += [UpstreamId(name, partition=partition) for partition in sorted({"", *told, *mine})]
    troubled = [subject for subject, upstream in known.items() if subject.name == OTHER and _is_in_trouble(upstream)]
    for name, untrusted in ((OTHER, False), (UNTRUSTED, True)):
        noted = [UpstreamId(OTHER, origin, untrusted) for origin in recent[name].failures]
        down = [subject for subject in troubled if subject.untrusted is untrusted]
        subjects += dict.fromkeys([*noted, *down[:MOST_HOSTS]])
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
    """Return a snapshot of this process in wall-clock time. A state that never changed is dated 0."""
    if not any(snapshot):
        return snapshot
    shifted = snapshot.shifted(ahead)
    return shifted if snapshot[0] else shifted.dated(0.0)


def _breaker(snapshot: BreakerSnapshot, settings: CircuitBreaker, wall: float) -> tuple[BreakerState, BreakerSnapshot]:
    if not snapshot.is_open:
        return BreakerState.CLOSED, snapshot
    snapshot = snapshot.at_most(wall, wall + settings.open_max)  # the limits that this process applies on adoption
    return BreakerState.OPEN if wall < snapshot.until else BreakerState.HALF_OPEN, snapshot


def _since(state: BreakerState | None, snapshot: BreakerSnapshot, transitions: list[Transition]) -> float | None:
    """Return when the outage began or ended; None: unknown.

    For an outage, a transition is preferred, because `BreakerSnapshot.since` may be the start of the last probe.
    """
    if state is None:
        return None
    is_open = state is not BreakerState.CLOSED
    last = max(transitions, default=None)
    if last is not None and last.is_open == is_open:
        return last.at
    return (snapshot.since if is_open else snapshot.changed) or None
