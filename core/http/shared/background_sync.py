"""Exchanges breaker and gate state with all processes that share a cache.

A background thread does this, so calls do not wait for the cache, with one exception: when a probe is due, a call waits
up to 0.1 s for the election (`probe_election`). The thread exchanges the state of all upstreams twice a second, and the
state of one upstream immediately after a failed attempt. Each round also writes diagnostics for operators: see
`upstream_diagnostics_recorder`. If the cache fails, each process continues with its own state, as without a cache.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue

from .. import fork
from ..engine.steps import Wait
from ..engine.upstream import Upstream
from ..events import AttemptEnded, BreakerChanged, Event, GateClosed
from ..log import logger
from ..outcome import Result
from ..upstream_id import UpstreamId
from .cache import Cache
from .probe_election import PATIENCE, Elections
from .record_sync import RecordSync
from .records import key_of
from .upstream_diagnostics_recorder import DiagnosticsRecorder

INTERVAL = 0.5
_SOONEST = 0.05
"""Minimum number of seconds between exchanges that failed attempts trigger."""
_SLOWEST_RETRY = 5.0
_SLOW = 2.0
"""Seconds. After a slower exchange, the cache counts as failed, because state should reach other processes within about
a second."""
_STUCK = 5.0
_SECRET = re.compile(r"//\S*@|\?\S*|(?<=integer value as ).*")
"""Matches secrets in the text of errors that quote the URL of the cache. (An error about an invalid port may quote a
part of the password.)"""


class StateSharing:
    """Shares the state of this process. The first call in each process starts the background thread."""

    def __init__(
        self,
        cache: Cache,
        upstreams: Callable[[], Mapping[UpstreamId, Upstream]],
        recent: DiagnosticsRecorder,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the exchange.

        :param upstreams: returns the upstreams whose state is shared.
        :param recent: the diagnostics, which are shared too.
        """
        self._cache = cache
        self._upstreams = upstreams
        self._diagnostics = recent
        self._clock = clock
        self._wall = wall
        self.stopped = False
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._wake: SimpleQueue[None] = SimpleQueue()
        """Not an `Event`: an interrupt can leave the lock of an `Event` held, and sharing would stop."""
        self._thread: threading.Thread | None = None
        self._syncs: dict[Upstream, RecordSync] = {}
        self._elections = Elections(self._cache)
        self._urgent: set[str] = set()
        """Keys of the upstreams whose state is exchanged before the next round, because an attempt failed or the state
        changed."""
        self._due = 0.0
        """When the next round starts. A round exchanges the state of all upstreams."""
        self._soonest = 0.0
        """When the state of the upstreams in `_urgent` may be exchanged."""
        self._busy_since = math.inf
        self._failing = False
        self._pause = INTERVAL

    def attend(self) -> None:
        """Ensure that the background thread runs, and report if the cache hangs. Every HTTP call does this first."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._start()
        elif self._clock() - self._busy_since > _STUCK:
            self._report_failure(f"no answer for {_STUCK:.0f} s")

    def stop(self) -> None:
        """Stop sharing."""
        self.stopped = True
        self._wake.put(None)

    def observe(self, event: Event) -> None:
        """Request an immediate exchange after a failed attempt, or after a change of a breaker or a gate.

        The registry of the process adds this method as an observer.
        """
        if self._failing or self.stopped:
            return
        if isinstance(event, BreakerChanged):
            self._soonest = 0.0  # such changes are rare, so the exchange need not wait
        elif not isinstance(event, GateClosed) and not (
            isinstance(event, AttemptEnded) and event.outcome is not None and event.outcome.result is Result.FAILURE
        ):
            return
        self._urgent.add(key_of(event.upstream, f"{event.target.scheme}://{event.target.host}"))
        self._wake.put(None)

    observe.kinds = frozenset({AttemptEnded, BreakerChanged, GateClosed})  # type: ignore[attr-defined]  # see `events`

    def elect(self, upstream: Upstream, now: float) -> bool | Wait:
        """Return whether this process may send the probe that is due, or a `Wait` while that is undecided.

        Used as `engine.upstream.Elect`.
        """
        if self.stopped or self._failing or now - self._busy_since > PATIENCE:
            return True
        if upstream not in self._syncs:  # its state is not exchanged, because the number of shared hosts is limited
            return True
        answer = self._elections.ask(upstream, now)
        if isinstance(answer, Wait):
            self._wake.put(None)
        return answer

    def step(self) -> None:
        """Decide the open elections, and run the exchange that is due."""
        try:
            self._list_upstreams()
            self._hold_elections()
            if self._clock() >= self._due:
                self._exchange_all()
            elif self._clock() >= self._next:
                self._exchange_urgent()
        except Exception as exc:  # noqa: BLE001 - caches raise exceptions of any class, and the thread must not end
            self._fail(exc)
        except BaseException as exc:
            self._fail(exc)  # the thread ends; the next HTTP call starts another one, which waits until `_due`
            raise
        finally:
            self._busy_since = math.inf

    @property
    def _next(self) -> float:
        """When the next exchange is due."""
        return min(self._due, self._soonest) if self._urgent else self._due

    def _start(self) -> None:
        try:
            with self._lock:
                if not self.stopped and (self._thread is None or not self._thread.is_alive()):
                    # Assigned before the start, so that an interrupt cannot leave an unknown thread running.
                    self._thread = threading.Thread(target=self._run, name="core.http shared state", daemon=True)
                    self._thread.start()
        except KeyError as exc:  # raised by threading's cleanup after an exception of a signal handler in `start`
            raise exc.__context__ or exc from None
        except RuntimeError as exc:  # the process can start no more threads, or the interpreter is exiting
            self._report_failure(str(exc))

    def _run(self) -> None:
        # Ends if another thread has taken over, because a `RecordSync` is not thread-safe.
        while not self.stopped and self._thread is threading.current_thread():
            self.step()
            with suppress(Empty):
                self._wake.get(timeout=max(self._next - self._clock(), 0.0))
            while not self._wake.empty():
                self._wake.get()

    def _list_upstreams(self) -> None:
        known = self._syncs
        self._syncs = {
            upstream: known.get(upstream) or RecordSync(self._cache, upstream, about)
            for about, upstream in self._upstreams().items()
        }

    def _hold_elections(self) -> None:
        for election in self._elections.undecided:
            sync = self._syncs.get(election.upstream)
            if sync is not None:
                self._busy_since = self._clock()
                self._elections.decide(election, sync, wall=self._wall(), now=self._clock())

    def _exchange_all(self) -> None:
        began = self._clock()
        self._due = began + INTERVAL
        self._urgent.clear()  # before the exchange: keys that are added during it must stay
        self._exchange(tuple(self._syncs.values()), began)
        if self.stopped:
            return
        self._write_diagnostics()
        self._elections.clear(self._clock())
        took = self._clock() - began
        if took > _SLOW:
            raise TimeoutError(f"exchanging the state took {took:.1f} s")
        self._pause = INTERVAL
        if self._failing:
            self._failing = False
            self._say(logging.INFO, "The shared cache works again")

    def _write_diagnostics(self) -> None:
        for sync in self._syncs.values():
            transition = sync.transition(self._wall())
            if transition is not None:
                self._diagnostics.note_transition(sync.about, transition)
        self._busy_since = self._clock()
        self._diagnostics.tell(self._cache)

    def _exchange_urgent(self) -> None:
        began = self._clock()
        self._soonest = began + _SOONEST
        urgent = self._urgent.copy()
        self._urgent -= urgent  # in place and before the exchange: keys that are added during it must stay
        self._exchange([sync for sync in self._syncs.values() if sync.host_key in urgent], began)

    def _exchange(self, syncs: Iterable[RecordSync], began: float) -> None:
        """Exchange each record. After an error, the other records are exchanged too; the first error is raised last."""
        error: Exception | None = None
        for sync in syncs:
            if self.stopped:
                return
            self._busy_since = self._clock()
            try:
                sync.sync(self._wall())
            except Exception as exc:  # noqa: BLE001 - as in `step`
                error = error or exc
                if self._clock() - began > _SLOW:  # the cache hangs; do not wait for it once per upstream
                    break
            self._hold_elections()
        if error is not None:
            raise error

    def _fail(self, exc: BaseException) -> None:
        self._pause = min(2 * self._pause, _SLOWEST_RETRY)
        self._due = self._clock() + self._pause
        self._report_failure(text_of(exc))
        self._urgent.clear()  # not earlier: until `_failing` is set, `observe` adds keys
        self._elections.decide_alone(self._clock())

    def _report_failure(self, why: str) -> None:
        with self._lock:
            was_failing, self._failing = self._failing, True
        if not was_failing:
            text = "The shared cache failed (%s): this process continues with its own state"
            self._say(logging.WARNING, text, why)

    def _say(self, level: int, text: str, *args: str) -> None:
        with suppress(Exception):  # a logging filter may raise, and neither the thread nor a call may fail for that
            logger.log(level, text, *args)


def text_of(exc: BaseException) -> str:
    """Return the text of an exception of a cache: at most 200 characters, without secrets."""
    name = type(exc).__name__
    try:
        return _SECRET.sub("***", f"{name}: {exc}")[:200]
    except Exception:  # noqa: BLE001 - even `str(exc)` may raise
        return name
