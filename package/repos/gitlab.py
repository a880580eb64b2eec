"""GitLab: gitlab.com, and the servers listed in the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlsplit

from django.conf import settings

from package.repos.base import Address, Repository, take_archived
from package.repos.commit_history import Commit, names_in, recent
from package.repos.gitlab_refusals import REFUSALS
from package.sources.api_server import Server
from package.sources.client import Answer, Client
from package.sources.errors import Gone
from package.sources.fields import Reading, count_of, date_of, inside, text_at, time_at

WEB = "https://gitlab.com"
_PAGES = 2
"""Maximum number of pages of 100 contributors that are read."""
_WEEKLY_PAGES = 30
"""Maximum number of pages of 100 commits that are read. If the last year has more, the part fails."""
_BEGAN = datetime(2011, 1, 1, tzinfo=UTC)
"""The year of GitLab's first release."""
_PAGES_OF_A_PROJECT = (
    "- badges blame blob builds commits create create_dir edit files find_file issues merge_requests new preview raw"
    " refs tree update wikis"
)
"""Path segments that follow the path of a project in the address of a page. GitLab forbids most of them as names."""
classify = REFUSALS.classify
"""The `Policy.classify` of these upstreams, for the settings."""


class GitLab(Repository):
    source = "gitlab"
    form = "group/name"
    owner = name = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}")
    reserved = (
        "- admin api assets dashboard explore groups help import jwt oauth organizations profile projects public s"
        " search snippets uploads users v2"
    )

    @classmethod
    def find(cls, address: Address) -> Self | None:
        """Return the repository at `address`; None: the address is not on a known GitLab server."""
        for web, url, token in _servers():
            names = address.below(web)
            if names is not None:
                name = "GitLab" if url == settings.GITLAB_URL else f"GitLab at {urlsplit(url).netloc}"
                server = Server(name, f"{url}/api/v4", token, refusal=REFUSALS.error)
                return cls.among(names, address, server, web)
        return None

    @classmethod
    def path_in(cls, names: Sequence[str]) -> str:
        path: list[str] = []
        for name in names:
            if name in _PAGES_OF_A_PROJECT.split() and len(path) >= 2:
                break
            path.append(name.removesuffix(".git"))
            if name.endswith(".git"):
                break
        known = all(cls.name.fullmatch(name) and name.strip(".") for name in path)
        return "/".join(path) if known and len(path) >= 2 and path[0].lower() not in cls.reserved.split() else ""

    @property
    def _project(self) -> str:
        return f"projects/{quote(self.path, safe='')}"

    def metadata(self, client: Client) -> Reading:
        data = client.get(self._project).data or {}
        reading = self.read(data, stars="star_count", forks="forks_count", path="path_with_namespace")
        if "archived" in data:  # missing in answers to requests without a token
            # The API has no date of archiving. The last activity comes close, because an archived project has none.
            take_archived(reading, data, "last_activity_at", earliest=_BEGAN)
        return reading

    def participants(self, client: Client) -> Reading:
        query: dict[str, str | int] = {"order_by": "commits", "sort": "desc", "per_page": 100}
        answers = client.pages(f"{self._project}/repository/contributors", query, _PAGES, kind=list)
        people = [person for answer in answers for person in answer.data or ()]
        reading = Reading()
        reading.take("participants", partial(names_in, people, "name"))
        return reading

    def commits(self, client: Client) -> Reading:
        newest = client.get(f"{self._project}/repository/commits", {"per_page": 1}, kind=list).data
        if not newest:
            return Reading({"commit_count": 0})
        reading = Reading()
        reading.take("last_commit_date", lambda: date_of(inside(newest[0]), "committed_date"))
        try:
            counted = client.get(f"{self._project}/repository/commits/HEAD/sequence", conditional=False).data
        except Gone:  # GitLab before 16.9 does not count commits
            return reading
        reading.take("commit_count", lambda: count_of(counted or {}, "count"))
        return reading

    def weekly(self, client: Client) -> Reading:
        def pages(conditional: bool) -> Iterator[Answer]:
            resource = f"{self._project}/repository/commits"
            return client.pages(resource, {"per_page": 100}, _WEEKLY_PAGES, kind=list, conditional=conditional)

        history = recent(client, self.url, pages, _commit)
        reading = Reading()
        reading.take("commits_over_52w", lambda: history.weeks)
        return reading

    parts: ClassVar = {"metadata": metadata, "participants": participants, "commits": commits, "weekly": weekly}


def _commit(data: Any) -> Commit:
    return Commit(text_at(data, "id"), time_at(data, "committed_date"))


def _servers() -> Iterator[tuple[str, str, str]]:
    """Yield for each server the address of its pages, its configured address, and its token."""
    for web in (WEB, settings.GITLAB_URL):
        yield web, settings.GITLAB_URL, settings.GITLAB_TOKEN
    tokens = settings.GITLAB_SERVER_TOKENS
    for url in settings.GITLAB_SERVERS:
        parts = urlsplit(url)
        yield url, url, tokens.get(parts.netloc.lower()) or tokens.get(parts.hostname or "") or ""
