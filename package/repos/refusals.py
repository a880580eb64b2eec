"""The meanings of refusals: one table for each host, used in two places.

`core.http` calls `Refusals.classify` for every response. The verdict decides whether the request is retried, and until
when requests are paused. `sources.client.Client` calls `Refusals.error` for the last response of a call. The error
decides what the ledger and the visitors read. docs/refusals.md shows the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import requests

from core.http import Verdict
from core.http.engine.rate_limit_gate import MAX_CLOSED
from core.http.engine.rate_limit_headers import longest, quota, retry_after, server_time
from core.http.verdict import MOST_BODY_BYTES
from package.sources.credentials import asking_with_token
from package.sources.errors import AskError, Gone, LeftAlone, NotOffered, TokenUnwelcome, Unusable
from package.sources.server import Server

MINUTE, HOUR = 60.0, 3600.0
_EXPLAINING = ("message", "error", "error_description", "documentation_url", "detail")
"""Keys of a JSON response whose values explain the refusal."""


class Concern(StrEnum):
    """What a refusal concerns. This decides which requests are paused, and for how long."""

    LIMIT = "limit"
    """The rate: nothing is sent until the time in the headers, or without one, for `Refusal.seconds`."""
    SOURCE = "source"
    """All requests of this site: nothing is sent for `Refusal.seconds`."""
    TOKEN = "token"  # noqa: S105 - not a token
    """The token: nothing is sent with it for `Refusal.seconds`."""
    OWNER = "owner"
    """The token, but only for the repositories of one owner: the request is repeated once without it."""
    GONE = "gone"
    """The package: nobody can access the repository any more."""
    PACKAGE = "package"
    """The package: its part fails, with a text that visitors read."""
    PART = "part"
    """One part of the package, which the server does not provide. This is not a failure."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One row of a table: the responses that it matches, and their meaning."""

    concern: Concern
    statuses: frozenset[int]
    says: str = ""
    """Regular expression to search for in the message, in lower case; "" matches every message."""
    header: tuple[str, str] = ("", "")
    """A header, and a regular expression to search for in its lower-case value. A match suffices without `says`."""
    only_with_token: bool = False
    """Match only responses to requests with a token."""
    text: str
    """The explanation that visitors read after the name of the server."""
    seconds: float = HOUR
    """Seconds for which nothing is sent, depending on `concern`."""
    doubled: bool = False
    """Whether `seconds` double each time that the refusal repeats, up to an hour."""
    advice: str = ""
    """What operators have to do; "": nothing."""

    def matches(self, status: int, headers: Mapping[str, str], message: str, *, with_token: bool) -> bool:
        if status not in self.statuses or (self.only_with_token and not with_token):
            return False
        name, value = self.header
        if name and re.search(value, (headers.get(name) or "").lower()):
            return True
        return not (name and not self.says) and re.search(self.says, message) is not None


class Refusals:
    """The table of one host. The first matching row applies."""

    def __init__(self, *rows: Refusal) -> None:
        self.rows = rows
        self._statuses = frozenset[int]().union(*(row.statuses for row in rows))

    def find(self, status: int, headers: Mapping[str, str], body: bytes | None, *, with_token: bool) -> Refusal | None:
        """Return the row that matches this response; None if only its status counts."""
        if status not in self._statuses:  # true for nearly every response
            return None
        message = message_of(body)
        return next((row for row in self.rows if row.matches(status, headers, message, with_token=with_token)), None)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
        """Return the verdict on a response for `core.http`. This is a `Policy.classify`."""
        row = self.find(status, headers, body, with_token=asking_with_token())
        if row is None:
            return None
        if row.concern is Concern.LIMIT:
            seconds = None if named_wait(headers) else row.seconds
            return Verdict.rate_limited(seconds, doubled=row.doubled and seconds is not None, why=row.text)
        if row.concern in {Concern.SOURCE, Concern.TOKEN}:
            return Verdict.rate_limited(row.seconds, doubled=row.doubled, why=row.text)
        return Verdict.permanent()

    def error(self, server: Server, response: requests.Response) -> AskError | None:
        """Return the error that `Client` raises for a response; None if no row matches. This is a `Server.refusal`."""
        status, headers, body = response.status_code, response.headers, response.content
        row = self.find(status, headers, body, with_token=bool(server.token))
        if row is None:
            return None
        text = f"{server.name} {row.text} (HTTP {status})"
        if row.concern is Concern.LIMIT:
            return LeftAlone(text, "http_429", _after(named_wait(headers) or row.seconds), row.advice)
        if row.concern is Concern.TOKEN:
            return LeftAlone(text, "unauthorized", _after(row.seconds), row.advice)
        if row.concern is Concern.SOURCE:
            return LeftAlone(text, "refused", _after(row.seconds), row.advice)
        if row.concern is Concern.GONE:
            why = re.search(r"\bblock: ([a-z_ -]{1,40})$", message_of(body))
            return Gone(f"{text}: {why[1]}" if why else text, "gone")
        kinds: dict[Concern, type[AskError]] = {Concern.OWNER: TokenUnwelcome, Concern.PART: NotOffered}
        return kinds.get(row.concern, Unusable)(text, row.concern.value)


def message_of(body: bytes | None) -> str:
    """Return the message of a body in lower case: the explaining values of a JSON object, otherwise the whole text."""
    text = (body or b"")[:MOST_BODY_BYTES].decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # a page, plain text, or cut off
        return text.lower()
    if not isinstance(data, dict):
        return str(data).lower() if isinstance(data, str) else ""
    said: list[Any] = [data[key] for key in _EXPLAINING if data.get(key)]
    block = data.get("block")
    if isinstance(block, dict):  # GitHub's reason for blocking a repository
        said.append(f"block: {block.get('reason')}")
    return "\n".join(map(str, said)).lower()


def named_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that the headers ask to wait; 0 if they name no time."""
    now = server_time(headers, datetime.now(UTC))
    return longest(retry_after(headers, now), quota(headers, now)) or 0.0


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=min(seconds, MAX_CLOSED))  # `core.http` pauses no longer


def statuses(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def token_refused(setting: str) -> Refusal:
    """Return the row for a 401 to a request with a token. On a public API, only the token can be the cause."""
    return Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(401),
        only_with_token=True,
        text="refuses our token",
        advice=f"Replace the token: {setting}",
    )


TOO_MANY_REQUESTS = Refusal(
    concern=Concern.LIMIT,
    statuses=statuses(429),
    text="limits our rate",
    seconds=MINUTE,
    doubled=True,
)
"""The row for any other 429: wait as the headers say; without them a minute, and twice as long each time."""


classify = Refusals(TOO_MANY_REQUESTS).classify
"""The `Policy.classify` for servers without a table."""
