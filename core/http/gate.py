"""The rate-limit gate of an upstream: closed for as long as the upstream asks to be left alone."""

from __future__ import annotations

import threading

from core.http.facts import Fact

LONGEST = 3600.0
"""Seconds. Whoever asks for more is asked again after an hour, by one probe."""


class Gate:
    """Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._asked_until = 0.0
        self._probe_until = 0.0
        self._reopened = 0.0

    def close(self, now: float, seconds: float) -> float:
        """Close for `seconds`, an hour at most; a gate that is closed for longer stays so. Returns until when."""
        with self._lock:
            self._probe_until = 0.0
            self._asked_until = max(self._asked_until, now + seconds)
            self._closed_until = max(self._closed_until, min(now + seconds, now + LONGEST))
            return self._closed_until

    def answered(self, now: float) -> None:
        """Note that the upstream answered and asked for nothing: a probe's answer opens the gate for all."""
        if self._asked_until > now >= self._closed_until:  # before, it is an answer to what was sent earlier
            with self._lock:
                if now >= self._closed_until:  # still: nobody closed it since we looked
                    self._asked_until = self._closed_until = self._reopened = now

    def closed_for(self, now: float) -> float:
        """Seconds to wait; 0: go. Where the upstream asked for more than an hour, one goes at a time."""
        if now >= self._asked_until:  # open, and nothing to probe: no lock
            return 0.0
        with self._lock:
            if now < self._closed_until:
                return self._closed_until - now
            if now < self._probe_until:
                return self._probe_until - now
            self._probe_until = min(now + LONGEST, self._asked_until)
            return 0.0

    def release(self) -> None:
        """Let the next probe go: this one came to nothing."""
        self._probe_until = 0.0

    @property
    def fact(self) -> Fact:
        """What other processes should know."""
        with self._lock:
            return self._fact()

    def adopt(self, seen: Fact, fact: Fact) -> bool:
        """Take over what another process was told. False: not done, this one has been told something since `seen`."""
        with self._lock:
            if self._fact() != seen:
                return False
            self._reopened, self._closed_until, self._asked_until = fact
            self._probe_until = 0.0
            return True

    def is_closed(self, now: float) -> bool:
        """Say whether nobody may pass, not even a probe."""
        return now < self._closed_until

    def probe_due(self, now: float) -> bool:
        """Say whether the next who comes would be the probe."""
        return self._closed_until <= now < self._asked_until and now >= self._probe_until

    def is_probing(self, now: float) -> bool:
        return self._closed_until <= now < min(self._asked_until, self._probe_until)

    def _fact(self) -> Fact:
        return Fact(self._reopened, self._closed_until, self._asked_until)
