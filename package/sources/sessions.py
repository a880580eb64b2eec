"""The sessions for requests to servers: with a token, without one, and for servers that users name."""

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

TOKEN = "token"  # noqa: S105 - a name, not a token
"""The partition in `core.http` of calls with a token, which have a quota of their own. Other calls use ""."""


@dataclass(frozen=True)
class Sessions:
    """The sessions that fetches use."""

    trusted: ResilientSession = field(default_factory=ApiSession)
    untrusted: ResilientSession = field(default_factory=partial(ResilientSession, untrusted=True))
    """For servers that users name."""
    before: Callable[[], object] = lambda: None
    """Called before each request. An exception that it raises ends the work."""
    with_token: ResilientSession = field(default_factory=partial(ApiSession, partition=TOKEN))
    """For servers with a token. `trusted` is for servers without one, and for requests whose token is refused."""

    @classmethod
    def made(
        cls,
        policy: Policy | None = None,
        *,
        wait: Callable[[float], object] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> Self:
        """Create all sessions with the same `policy` and `wait`, which are as in `ResilientSession`."""
        return cls(
            ApiSession(policy, wait=wait),
            ResilientSession(policy, untrusted=True, wait=wait),
            before,
            ApiSession(policy, wait=wait, partition=TOKEN),
        )

    def client(self, server: Server, row: SourceStatus | None = None, *, untrusted: bool = False) -> Client:
        """Return a client for `server`, with the validators and the memory of the last fetch from `row`."""
        session = self.untrusted if untrusted else self.with_token if server.token else self.trusted
        anonymous = self.trusted if server.token and not untrusted else None
        known, memory = (row.validators, row.memory) if row is not None else (None, None)
        return Client(session, server, known, memory, self.before, anonymous)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit all requests of the block together to one total deadline of `seconds`."""
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
