"""Records the diagnostics of this process. The background thread that shares state writes them to the cache.

This costs a call almost nothing: successes are not recorded, and no call waits for the cache.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .. import fork
from ..engine.mergeable_state import Transition
from ..events import OTHER, AttemptEnded, Event, QuotaSeen, Target
from ..outcome import Outcome, Quota, Reason, Result
from ..upstream_id import UpstreamId
from .cache import Cache
from .upstream_diagnostics import (
    KEPT,
    MAX_LENGTHS,
    MOST_HOSTS,
    MOST_QUOTAS,
    UNTRUSTED,
    Allowance,
    Diagnostics,
    Failure,
    key_of,
    read,
)

_RESOURCE = re.compile(r"[a-z0-9_-]{1,40}")
_T = TypeVar("_T")


class DiagnosticsRecorder:
    """An observer that records the diagnostics of this process and shares them with other processes."""

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._notes: dict[str, Diagnostics] = {}
        self._untold: set[str] = set()
        """Names of upstreams whose diagnostics may be incomplete in the cache."""

    def observe(self, event: Event) -> None:
        """Record failed attempts and announced quotas."""
        if isinstance(event, AttemptEnded):
            if event.outcome is not None and event.outcome.result is Result.FAILURE:
                name = UNTRUSTED if event.target.untrusted else event.upstream
                self._note_failure(name, event.target, event.outcome)
        elif isinstance(event, QuotaSeen) and event.upstream != OTHER:  # the name "other" does not identify the server
            self._note_quota(event.upstream, event.quota, event.partition)

    observe.kinds = frozenset({AttemptEnded, QuotaSeen})  # type: ignore[attr-defined]  # see `events`

    def note_transition(self, about: UpstreamId, transition: Transition) -> None:
        """Record a transition of a breaker of this process. `transition` is in wall-clock time."""
        name = UNTRUSTED if about.untrusted else about.name
        with self._lock:
            _put(self._notes_on(name).transitions, about.origin, transition, MOST_HOSTS)

    def of(self, name: str) -> Diagnostics:
        """Return the diagnostics of the upstream `name` that this process has recorded, without those of others."""
        with self._lock:
            notes = self._notes.get(name, Diagnostics())
            return Diagnostics(dict(notes.failures), dict(notes.quotas), dict(notes.transitions))

    def tell(self, cache: Cache) -> None:
        """Write the diagnostics that may be missing in the cache. Raises the cache's errors on writing."""
        for name in tuple(self._untold):
            self._untold.discard(name)  # before writing: entries that are added during it must be written too
            try:
                told = self._tell(name, cache)
            except BaseException:
                self._untold.add(name)
                raise
            if not told:
                self._untold.add(name)  # check again: another process may have overwritten the record

    def _tell(self, name: str, cache: Cache) -> bool:
        """Write the diagnostics of `name` if the cache lacks some. Returns whether the cache had all of them."""
        wall = self._wall()
        try:
            heard = read(cache.get(key_of(name)), wall)
        except Exception:  # noqa: BLE001 - an unreadable record is replaced; if the cache is down, writing raises
            heard = None
        merged = (heard or Diagnostics()).merge(self.of(name), wall)
        if merged == heard:
            return True
        cache.set(key_of(name), merged.plain, timeout=int(KEPT))
        return False

    def _note_failure(self, name: str, target: Target, outcome: Outcome) -> None:
        unnamed = name in {OTHER, UNTRUSTED}
        method, scheme, host, path = (
            _printable(text, most)
            for text, most in zip((target.method, target.scheme, target.host, target.path), MAX_LENGTHS, strict=True)
        )
        reason = outcome.reason or Reason.OTHER
        failure = Failure(self._wall(), reason.value, outcome.status, method, scheme, host, "" if unnamed else path)
        with self._lock:
            _put(self._notes_on(name).failures, f"{scheme}://{host}" if unnamed else "", failure, MOST_HOSTS)

    def _note_quota(self, name: str, quota: Quota, partition: str) -> None:
        wall = self._wall()
        resource = (quota.resource or "").lower()
        if resource and not _RESOURCE.fullmatch(resource):
            resource = "other"
        if partition:
            resource = f"{partition}/{resource}" if resource else partition
        reset = None if quota.reset is None else wall + quota.reset
        with self._lock:
            _put(
                self._notes_on(name).quotas,
                resource,
                Allowance(wall, quota.limit, quota.remaining, reset),
                MOST_QUOTAS,
            )

    def _notes_on(self, name: str) -> Diagnostics:
        """Return the diagnostics of `name`, to which the caller adds an entry. The caller must hold the lock."""
        self._untold.add(name)
        notes = self._notes.get(name)
        if notes is None:
            notes = self._notes[name] = Diagnostics()
        return notes


def _put(notes: dict[str, _T], key: str, value: _T, most: int) -> None:
    notes.pop(key, None)  # so that the dictionary stays in order of time, and its first entry is the oldest
    notes[key] = value
    if len(notes) > most:
        del notes[next(iter(notes))]


def _printable(text: str, most: int) -> str:
    """Return at most `most` characters of `text`, without control characters that a terminal would execute."""
    text = text[:most]
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)
