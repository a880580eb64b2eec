"""GitHub's REST API."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from django.conf import settings

from package.repos.base import Address, Repository, take_archived
from package.repos.commit_history import WEEKS, counted, names_in
from package.repos.github_refusals import REFUSALS
from package.sources.api_server import Server
from package.sources.client import Answer, Client
from package.sources.fields import BadField, Json, Reading, count, date_of, get, inside

WEB = "https://github.com"
_VERSION = {"X-GitHub-Api-Version": "2022-11-28"}
_PAGES = 2
"""Maximum number of pages of 100 contributors that are read."""
_BEGAN = datetime(2007, 1, 1, tzinfo=UTC)
"""The year of GitHub's first repositories."""
classify = REFUSALS.classify
"""The `Policy.classify` of this upstream, for the settings."""


class GitHub(Repository):
    source = "github"
    reserved = (
        "about account apps codespaces collections contact copilot customer-stories dashboard enterprise events"
        " explore features issues join login logout marketplace models new notifications organizations orgs pricing"
        " pulls readme search security sessions settings signup site solutions sponsors stars team topics trending"
        " users watching"
    )

    @classmethod
    def find(cls, address: Address) -> Self | None:
        """Return the repository at `address`; None: the address is not on GitHub."""
        names = address.below(WEB)
        if names is None:
            return None
        api = settings.GITHUB_API_URL
        accept = "application/vnd.github+json"
        server = Server("GitHub", api, settings.GITHUB_TOKEN, accept, _VERSION, REFUSALS.error)
        return cls.among(names, address, server, WEB)

    def metadata(self, client: Client) -> Reading:
        data = client.get(f"repos/{self.path}").data or {}
        reading = self.read(data, stars="stargazers_count", forks="forks_count", path="full_name")
        # The API has no date of archiving. The last push comes close, because an archived repository accepts no pushes.
        # `updated_at` changes with each new star.
        take_archived(reading, data, "pushed_at", "updated_at", earliest=_BEGAN)
        return reading

    def participants(self, client: Client) -> Reading:
        answers = client.pages(f"repos/{self.path}/contributors", {"per_page": 100}, _PAGES, kind=list, empty={204})
        people = [person for answer in answers for person in answer.data or ()]
        reading = Reading()
        reading.take("participants", partial(names_in, people, "login"))
        return reading

    def commits(self, client: Client) -> Reading:
        # 409 means that there are no commits yet
        answer = client.get(f"repos/{self.path}/commits", {"per_page": 1}, kind=list, empty={409})
        if not answer.data:
            return Reading({"commit_count": 0})
        reading = Reading()
        reading.take("commit_count", lambda: counted(answer.data, _pages_of(answer)))
        reading.take("last_commit_date", lambda: date_of(inside(answer.data[0], "commit", "committer"), "date"))
        return reading

    def weekly(self, client: Client) -> Reading:
        data = client.get(f"repos/{self.path}/stats/participation", empty={204}).data
        reading = Reading()
        if data is not None:
            reading.take("commits_over_52w", partial(_weeks, data))
        return reading

    parts: ClassVar = {"metadata": metadata, "participants": participants, "commits": commits, "weekly": weekly}


def _pages_of(answer: Answer) -> str:
    """Return the number of the last page, as text. With one commit per page, this is the number of commits."""
    if not answer.last and not answer.next:
        return str(len(answer.data))
    return parse_qs(urlsplit(answer.last).query).get("page", [""])[0]


def _weeks(data: Json) -> list[int] | None:
    weeks: list[Any] | None = get(data, "all", list, "a list")
    if weeks is None:
        return None
    if len(weeks) != WEEKS:
        raise BadField(f"has {len(weeks)} weeks")
    if not all(type(number) is int for number in weeks):
        raise BadField("contains a value that is not a whole number")
    return [count(number) for number in weeks]
