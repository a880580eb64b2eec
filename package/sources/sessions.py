"""The sessions through which servers are asked: with a token, without one, and for servers that users name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from core.http import Policy, ResilientSession
from package.models import SourceStatus
from package.sources.client import Client
from package.sources.credentials import ApiSession
from package.sources.server import Server

TOKEN = "token"  # noqa: S105 - a name for it
"""The partition of `core.http` for calls with a token: their quota is one of its own. "": for those without."""


@dataclass(frozen=True)
class Sessions:
    """What sources are asked through."""

    trusted: ResilientSession = field(default_factory=ApiSession)
    untrusted: ResilientSession = field(default_factory=partial(ResilientSession, untrusted=True))
    """For servers that users name."""
    before: Callable[[], object] = lambda: None
    """Called before each question; what it raises ends the work."""
    with_token: ResilientSession = field(default_factory=partial(ApiSession, partition=TOKEN))
    """For servers that know us by a token; `trusted` is for the others, and for what such a token may not see."""

    @classmethod
    def made(
        cls,
        policy: Policy | None = None,
        *,
        wait: Callable[[float], object] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> Self:
        """Make all of them alike. `policy`, `wait`: as of `ResilientSession`."""
        return cls(
            ApiSession(policy, wait=wait),
            ResilientSession(policy, untrusted=True, wait=wait),
            before,
            ApiSession(policy, wait=wait, partition=TOKEN),
        )

    def client(self, server: Server, row: SourceStatus | None = None, *, untrusted: bool = False) -> Client:
        """Make a client for `server`, which knows what the last one left in `row`."""
        session = self.untrusted if untrusted else self.with_token if server.token else self.trusted
        anonymous = self.trusted if server.token and not untrusted else None
        known, memory = (row.validators, row.memory) if row is not None else (None, None)
        return Client(session, server, known, memory, self.before, anonymous)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give all that is asked inside one total deadline together."""
        with ExitStack() as stack:
            for session in self._all:
                stack.enter_context(session.within(seconds))
            yield

    def close(self) -> None:
        for session in self._all:
            session.close()

    @property
    def _all(self) -> tuple[ResilientSession, ...]:
        return self.trusted, self.with_token, self.untrusted
