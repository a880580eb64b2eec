"""The meanings of refusals. Each host has one table, which is used in two places.

`core.http` calls `Refusals.classify` for every response. The verdict decides whether the request is retried, and until
when requests are paused. `sources.client.Client` calls `Refusals.error` for the last response of a call. The error
decides what the source status stores and what visitors read. docs/refusals.md shows the tables.
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
from package.sources.api_server import Server
from package.sources.auth import asking_with_token
from package.sources.errors import AskError, Gone, LeftAlone, NotOffered, TokenUnwelcome, Unusable

MINUTE, HOUR = 60.0, 3600.0
_EXPLAINING = ("message", "error", "error_description", "documentation_url", "detail")
"""Keys of a JSON response whose values explain the refusal."""


class Concern(StrEnum):
    """The subject of a refusal. It decides which requests are paused, and for how long."""

    LIMIT = "limit"
    """The rate of requests. Nothing is sent until the time in the headers; without headers, for `Refusal.seconds`."""
    SOURCE = "source"
    """All requests of this site. Nothing is sent for `Refusal.seconds`."""
    TOKEN = "token"  # noqa: S105 - not a token
    """The token. Nothing is sent with it for `Refusal.seconds`."""
    OWNER = "owner"
    """The token, but only for the repositories of one owner. The request is repeated once without the token."""
    GONE = "gone"
    """The package. The repository can no longer be accessed."""
    PACKAGE = "package"
    """The package. Its part fails, with a text that visitors read."""
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
    """A header, and a regular expression to search for in its lower-case value. If found, `says` need not match."""
    only_with_token: bool = False
    """Whether to match only responses to requests with a token."""
    text: str
    """The explanation that visitors read after the name of the server."""
    seconds: float = HOUR
    """Seconds for which nothing is sent. `concern` decides to which requests this applies."""
    doubled: bool = False
    """Whether `seconds` are doubled each time that the refusal repeats, up to an hour."""
    advice: str = ""
    """What operators must do; "": nothing."""

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
        """Return the first row that matches this response; None: no row matches."""
        if status not in self._statuses:  # as for nearly every response
            return None
        message = message_of(body)
        return next((row for row in self.rows if row.matches(status, headers, message, with_token=with_token)), None)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
        """Return the verdict on a response; None: no row matches. Used as `Policy.classify`."""
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
        """Return the error that `Client` raises for a response; None: no row matches. Used as `Server.refusal`."""
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
    """Return the message in a body, in lower case: values of a JSON object that explain an error, or the whole text."""
    text = (body or b"")[:MOST_BODY_BYTES].decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # the body is a page or plain text, or its end is missing
        return text.lower()
    if not isinstance(data, dict):
        return str(data).lower() if isinstance(data, str) else ""
    said: list[Any] = [data[key] for key in _EXPLAINING if data.get(key)]
    block = data.get("block")
    if isinstance(block, dict):  # GitHub's reason for blocking a repository
        said.append(f"block: {block.get('reason')}")
    return "\n".join(map(str, said)).lower()


def named_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds for which the headers ask the client to wait; 0: they contain no time."""
    now = server_time(headers, datetime.now(UTC))
    return longest(retry_after(headers, now), quota(headers, now)) or 0.0


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=min(seconds, MAX_CLOSED))  # `core.http` pauses no longer


def statuses(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def token_refused(setting: str) -> Refusal:
    """Return the row for status 401 after a request with a token. On a public API, only the token can be the cause."""
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
"""The row for all other responses with 429: wait as long as the headers say; without them a minute, doubled
each time."""


classify = Refusals(TOO_MANY_REQUESTS).classify
"""The `Policy.classify` for servers without a table."""
