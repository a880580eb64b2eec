"""What the refusals of a server mean: one table for each host, read in two places.

`core.http` asks `Refusals.classify` about every answer, and so decides what is retried and what is left alone until
when. `asking.Client` asks `Refusals.error` about the answer that a call ended with, and so decides what the ledger and
the visitors are told. docs/refusals.md shows the tables.
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
"""Members of a JSON answer that say what is wrong."""


class Concern(StrEnum):
    """What a refusal is about, which decides who is asked again, and when."""

    LIMIT = "limit"
    """How often the source is asked: nothing is sent until the headers say, or else for `Refusal.seconds`."""
    SOURCE = "source"
    """This site as a whole, whatever it asks for: nothing is sent for `Refusal.seconds`."""
    TOKEN = "token"  # noqa: S105 - not one
    """The token: nothing is sent with it for `Refusal.seconds`."""
    OWNER = "owner"
    """The token, but only for what one organization owns: asked once more without it."""
    GONE = "gone"
    """The package: the repository cannot be reached by anybody."""
    PACKAGE = "package"
    """The package: a failure that visitors read."""
    PART = "part"
    """One part of the package, which the server does not offer. That is no failure."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One row of a table: which answers it matches, and what they mean."""

    concern: Concern
    statuses: frozenset[int]
    says: str = ""
    """A regular expression that is found in the message, which is in lower case; "": whatever the message is."""
    header: tuple[str, str] = ("", "")
    """A header, and a regular expression that is found in its value in lower case: enough without the message."""
    only_with_token: bool = False
    """It matches answers to calls with a token only."""
    text: str
    """A predicate for visitors, to follow the name of the server."""
    seconds: float = HOUR
    """How long nothing is sent, where `concern` says so."""
    doubled: bool = False
    """`seconds` are doubled on repeats, an hour at most."""
    advice: str = ""
    """What the people who run the site have to do."""

    def matches(self, status: int, headers: Mapping[str, str], message: str, *, with_token: bool) -> bool:
        if status not in self.statuses or (self.only_with_token and not with_token):
            return False
        name, value = self.header
        if name and re.search(value, (headers.get(name) or "").lower()):
            return True
        return not (name and not self.says) and re.search(self.says, message) is not None


class Refusals:
    """The refusals of one host: of several rows that match, the first counts."""

    def __init__(self, *rows: Refusal) -> None:
        self.rows = rows
        self._statuses = frozenset[int]().union(*(row.statuses for row in rows))

    def find(self, status: int, headers: Mapping[str, str], body: bytes | None, *, with_token: bool) -> Refusal | None:
        """Return the row that is about this answer; None: there is none, the status says it all."""
        if status not in self._statuses:  # of nearly every answer
            return None
        message = message_of(body)
        return next((row for row in self.rows if row.matches(status, headers, message, with_token=with_token)), None)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
        """Return what `core.http` is to make of an answer: a `Policy.classify`."""
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
        """Return what `asking.Client` is to raise for an answer: a `Server.refusal`."""
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
    """Return what a body says is wrong, in lower case: what explains in JSON, else all of it."""
    text = (body or b"")[:MOST_BODY_BYTES].decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # a page, plain text, or too long
        return text.lower()
    if not isinstance(data, dict):
        return str(data).lower() if isinstance(data, str) else ""
    said: list[Any] = [data[key] for key in _EXPLAINING if data.get(key)]
    block = data.get("block")
    if isinstance(block, dict):  # GitHub says in it why it blocks a repository
        said.append(f"block: {block.get('reason')}")
    return "\n".join(map(str, said)).lower()


def named_wait(headers: Mapping[str, str]) -> float:
    """Return for how many seconds the headers ask to wait; 0: they do not say."""
    now = server_time(headers, datetime.now(UTC))
    return longest(retry_after(headers, now), quota(headers, now)) or 0.0


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=min(seconds, MAX_CLOSED))  # then `core.http` asks again


def statuses(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def token_refused(setting: str) -> Refusal:
    """Return the row for a 401 to a call with a token: on a public API, only the token can be what is wrong."""
    return Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(401),
        only_with_token=True,
        text="refuses our token",
        advice=f"Replace it: {setting}",
    )


TOO_MANY_REQUESTS = Refusal(
    concern=Concern.LIMIT,
    statuses=statuses(429),
    text="limits our rate",
    seconds=MINUTE,
    doubled=True,
)
"""The row for a 429 that says nothing else: as the headers say, or else a minute, and longer each time."""


classify = Refusals(TOO_MANY_REQUESTS).classify
"""A `Policy.classify` for servers without a table of their own."""
