"""Servers that run Forgejo or Gitea, which have the same API: Codeberg, and any other server in a user's address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from django.conf import settings

from package.repos.base import Address, Repository, take_archived
from package.repos.commit_history import Commit, counted, recent
from package.repos.refusals import Concern, Refusal, Refusals, statuses, token_refused
from package.sources.api_server import Server
from package.sources.client import Answer, Client
from package.sources.errors import Gone, Unusable
from package.sources.fields import Reading, date_of, inside, text_at, time_at

_WEB = "https://codeberg.org"
_BRIEF = {"stat": "false", "verification": "false", "files": "false"}
"""Parameters that omit data which takes the server a long time to compute."""
_MOST_PAGES = 60
"""Maximum number of pages of 50 commits that are read. If the last year has more, the part fails."""
_NEWEST = 500
"""Number of the newest commits from which the participants are read."""
_BEGAN = datetime(2014, 1, 1, tzinfo=UTC)
"""The start of Gogs, the ancestor of Gitea and Forgejo."""
_PAGES = (
    "actions activity archive blame branches commit commits compare find forks graph issues labels media milestone"
    " milestones packages projects pulls raw releases rss search settings src stars tags watchers wiki _edit _new"
)
"""Path segments that follow "owner/name" in the address of a page."""
_ROOT = re.compile(r"[A-Za-z0-9._~-]+")
_REFUSALS = Refusals(
    Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(403),
        says="does not have at least one of required scope",
        text="refuses our token, which lacks a scope",
        advice="Replace the token by one that has the scope read:repository: CODEBERG_TOKEN",
    ),
    token_refused("CODEBERG_TOKEN"),
)
classify = _REFUSALS.classify
"""The `Policy.classify` of Codeberg, for the settings. Other servers are called without a token."""


class Forgejo(Repository):
    source = "forgejo"
    untrusted = True
    owner = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
    reserved = (
        "admin api assets attachments avatars captcha explore ghost issues login metrics milestones new notifications"
        " org pulls repo repo-avatars search stars swagger template user v2"
    )

    @classmethod
    def at(cls, address: Address) -> Self:
        """Return the repository at `address`, on any server.

        The server may have a path on its host, except in ssh addresses.

        :raises NotARepository: if `address` is not the address of a repository.
        """
        names = address.names
        start = _names_of_server(names) if address.scheme in {"http", "https"} else 0
        if names and names[0].lower() in cls.reserved.split():  # a page of the server, not of a repository
            start = 0
        root = "".join(f"/{name}" for name in names[:start])
        web = f"{'http' if address.scheme == 'http' else 'https'}://{address.netloc}{root}"
        server = Server(f"Forgejo at {address.netloc}{root}", f"{web}/api/v1")
        return cls.among(names[start:], address, server, web)

    @classmethod
    def path_in(cls, names: Sequence[str]) -> str:
        path = super().path_in(names)
        return "" if path.endswith("/-") else path  # a page of an owner

    def metadata(self, client: Client) -> Reading:
        try:
            data = client.get(f"repos/{self.path}").data or {}
        except Gone:
            if self.untrusted:
                self._ask_whether_there_is_a_server(client)
            raise
        reading = self.read(data, stars="stars_count", forks="forks_count", path="full_name")
        # If the repository is not archived, `archived_at` is a date in 1970. Older servers do not send this key.
        take_archived(reading, data, "archived_at", "updated_at", earliest=_BEGAN)
        return reading

    def _ask_whether_there_is_a_server(self, client: Client) -> None:
        """Raise `Unusable` if the server is neither Forgejo nor Gitea, because then its 404 proves nothing."""
        status = client.status
        try:
            known = "version" in (client.get("version", conditional=False).data or {})
        except (Gone, Unusable):
            known = False
        if not known:
            text = f"no Forgejo or Gitea answers at {self.web} (HTTP {client.status}): check the repository's address"
            raise Unusable(text, "not_a_repository")
        client.status = status

    def commits(self, client: Client) -> Reading:
        # 409 means that there are no commits yet, here and below
        query: dict[str, str | int] = {**_BRIEF, "limit": 1}
        answer = client.get(f"repos/{self.path}/commits", query, kind=list, empty={409})
        if not answer.data:
            return Reading({"commit_count": 0})
        reading = Reading()
        reading.take("commit_count", lambda: counted(answer.data, answer.headers.get("X-Total-Count", "")))
        reading.take("last_commit_date", lambda: date_of(inside(answer.data[0], "commit", "committer"), "date"))
        return reading

    def history(self, client: Client) -> Reading:
        """Read the participants and the weekly commits, which only the list of commits contains."""

        def pages(conditional: bool) -> Iterator[Answer]:
            query: dict[str, str | int] = {**_BRIEF, "limit": 50}
            resource = f"repos/{self.path}/commits"
            return client.pages(resource, query, _MOST_PAGES, kind=list, empty={409}, conditional=conditional)

        history = recent(client, self.url, pages, _commit, least=_NEWEST)
        reading = Reading()
        reading.take("commits_over_52w", lambda: history.weeks)
        reading.take("participants", lambda: history.participants)
        return reading

    parts: ClassVar = {"metadata": metadata, "commits": commits, "history": history}


class Codeberg(Forgejo):
    source = "codeberg"
    untrusted = False

    @classmethod
    def find(cls, address: Address) -> Self | None:
        """Return the repository at `address`; None: the address is not on Codeberg."""
        for web in (_WEB, settings.CODEBERG_URL):
            names = address.below(web)
            if names is not None:
                api = f"{settings.CODEBERG_URL}/api/v1"
                server = Server("Codeberg", api, settings.CODEBERG_TOKEN, refusal=_REFUSALS.error)
                return cls.among(names, address, server, web)
        return None


def _names_of_server(names: Sequence[str]) -> int:
    """Return the number of path segments before "owner/name", which are the path of the server."""
    end = next(
        (n for n in range(2, len(names)) if names[n - 1].endswith(".git") or names[n] in _PAGES.split()), len(names)
    )
    root = names[: max(end - 2, 0)]
    return len(root) if all(_ROOT.fullmatch(name) and name.strip(".") for name in root) else 0


def _commit(data: Any) -> Commit:
    name = text_at(data, "author", "login") or text_at(data, "commit", "author", "name")
    return Commit(text_at(data, "sha"), time_at(data, "commit", "committer", "date"), name)
