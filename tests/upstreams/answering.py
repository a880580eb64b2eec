"""Parts of answers: JSON with validators, pages, links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from aiohttp import web
from yarl import URL


class Answered(Exception):  # noqa: N818 - its name needs no suffix
    """There is an answer, and nothing more to look up."""

    def __init__(self, response: web.Response) -> None:
        self.response = response


@dataclass(frozen=True)
class Page:
    items: list[Any]
    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        return max(1, -(-self.total // self.size))


def cut_page(everything: Sequence[Any], number: int, size: int, *, endless: bool) -> Page:
    """Return a page of `everything`; behind the last comes nothing, or the first again."""
    last = max(1, -(-len(everything) // size))
    start = ((number - 1) % last if endless else number - 1) * size
    return Page(list(everything[start : start + size]), number, size, len(everything))


def json_answer(
    request: web.Request, body: bytes, headers: dict[str, str], etag: str | None, modified: datetime | None
) -> web.Response:
    """Answer with `body`, or that the client has it."""
    if etag:
        headers["ETag"] = etag
    if modified:
        headers["Last-Modified"] = format_datetime(modified, usegmt=True)
    if _has_it(request, etag, modified):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", charset="utf-8", headers=headers)


def _has_it(request: web.Request, etag: str | None, modified: datetime | None) -> bool:
    """Return whether the client has the current answer; RFC 9110, 13.2.2: dates count if there are no tags."""
    if tags := request.headers.get("If-None-Match"):
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return etag is not None and ("*" in known or etag.removeprefix("W/") in known)
    since = request.headers.get("If-Modified-Since")
    try:
        return bool(since and modified and modified <= parsedate_to_datetime(since))
    except (TypeError, ValueError):
        return False


def asked_number(request: web.Request, name: str, default: int) -> int:
    """Return the number in the query, or the default if it is no positive number."""
    value = request.query.get(name, "")
    return int(value) if value.isdecimal() and int(value) else default


def behind(request: web.Request, segments: int) -> str:
    """Return the rest of the path after its first segments, with the query."""
    return re.sub(rf"^(/[^/?]+){{{segments}}}", "", request.path_qs)


def with_query(url: str, request: web.Request, **replaced: object) -> str:
    """Return `url` with the query of the request, in which some values are replaced."""
    return str(URL(url, encoded=True).with_query({**request.query, **{key: str(to) for key, to in replaced.items()}}))


def link_header(separator: str = ", ", **urls: str) -> dict[str, str]:
    """Return a Link header with those of the relations that have a URL."""
    links = separator.join(f'<{url}>; rel="{rel}"' for rel, url in urls.items() if url)
    return {"Link": links} if links else {}


def iso(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
