"""The sessions for requests: with a token, without a token, and to servers in addresses that users have submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Self

from core.http import Policy, ResilientSession
from package.models import SourceStatus
from package.sources.api_server import Server
from package.sources.auth import ApiSession
from package.sources.client import Client

TOKEN = "token"  # noqa: S105 - a name, not a token
"""The partition in `core.http` of calls with a token, which have their own quota. Other calls have the partition ""."""


@dataclass(frozen=True)
class Sessions:
    """The sessions that fetches use."""

    trusted: ResilientSession = field(default_factory=ApiSession)
    untrusted: ResilientSession = field(default_factory=partial(ResilientSession, untrusted=True))
    """The session for servers in addresses that users have submitted."""
    before: Callable[[], object] = lambda: None
    """A function that is called before each request. If it raises, the work ends."""
    with_token: ResilientSession = field(default_factory=partial(ApiSession, partition=TOKEN))
    """The session for servers with a token. `trusted` is for servers without a token, and for requests without the
    token after it was refused."""

    @classmethod
    def made(
        cls,
        policy: Policy | None = None,
        *,
        wait: Callable[[float], object] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> Self:
        """Create all sessions with the same `policy` and `wait`: see `ResilientSession`."""
        return cls(
            ApiSession(policy, wait=wait),
            ResilientSession(policy, untrusted=True, wait=wait),
            before,
            ApiSession(policy, wait=wait, partition=TOKEN),
        )

    def client(self, server: Server, row: SourceStatus | None = None, *, untrusted: bool = False) -> Client:
        """Return a client for `server`, with the validators and the memory that the last fetch stored in `row`."""
        session = self.untrusted if untrusted else self.with_token if server.token else self.trusted
        anonymous = self.trusted if server.token and not untrusted else None
        known, memory = (row.validators, row.memory) if row is not None else (None, None)
        return Client(session, server, known, memory, self.before, anonymous)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Return a context manager: all requests in its block share one total deadline, `seconds` from now."""
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


sessions = cache(Sessions)
"""Returns the sessions of the process. The first call creates them."""
