"""Bitbucket Cloud. Its API does not count commits, so this module reads the whole list of commits once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from django.conf import settings

from package.repos.base import Address, Repository
from package.repos.commit_history import Commit, History, commits_in, recall, remember
from package.repos.refusals import Concern, Refusal, Refusals, statuses, token_refused
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.errors import Gone, Unusable
from package.sources.fields import BadField, Reading, count, count_of, date, get, text_at, text_of, time_at

WEB = "https://bitbucket.org"
_PAGES = 20
"""Maximum number of pages of 100 commits that are read per fetch."""
_LONGEST_ADDRESS = 2000
"""Maximum number of characters of the address of the next page, which is stored for the next fetch."""
_MOST = 200_000
"""Maximum number of commits. A longer history is refused."""
_NAME = re.compile(r"\s*<[^<>]*>\s*$")
"""Matches the email address after a name."""
_REFUSALS = Refusals(
    Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(403),
        says="credentials lack one or more required privilege scopes",
        only_with_token=True,
        text="refuses our token, which lacks a scope",
        advice="Replace the token by one that may read repositories: BITBUCKET_TOKEN",
    ),
    token_refused("BITBUCKET_TOKEN"),
)
classify = _REFUSALS.classify
"""The `Policy.classify` of this upstream, for the settings."""


class Bitbucket(Repository):
    source = "bitbucket"
    form = "workspace/name"
    reserved = "account dashboard product repo site snippets support workspaces"

    @classmethod
    def find(cls, address: Address) -> Self | None:
        """Return the repository at `address`; None: the address is not on Bitbucket."""
        names = address.below(WEB)
        if names is None:
            return None
        server = Server("Bitbucket", settings.BITBUCKET_API_URL, settings.BITBUCKET_TOKEN, refusal=_REFUSALS.error)
        return cls.among(names, address, server, WEB)

    @classmethod
    def path_in(cls, names: Sequence[str]) -> str:
        path = super().path_in(names)
        return "" if path.endswith("/workspace") else path  # a page of a workspace

    @property
    def _repository(self) -> str:
        return f"repositories/{self.path}"

    def metadata(self, client: Client) -> Reading:
        data = client.get(self._repository).data or {}
        reading = Reading()
        self.take_description(reading, data, "full_name")
        return reading

    def watchers(self, client: Client) -> Reading:
        return self._size(client, "watchers", "repo_watchers")  # Bitbucket has no stars

    def forks(self, client: Client) -> Reading:
        return self._size(client, "forks", "repo_forks")

    def _size(self, client: Client, resource: str, field: str) -> Reading:
        data = client.get(f"{self._repository}/{resource}", {"pagelen": 1}).data or {}
        reading = Reading()
        reading.take(field, partial(count_of, data, "size"))
        return reading

    def history(self, client: Client) -> Reading:
        """Read the number of commits, the commits of each week, and the authors."""
        branch = self._branch(client)
        reading = Reading()
        history = History()
        if branch:
            try:
                history = self._walk(client, branch)
            except (Gone, Unusable) as exc:
                client.memory = {}  # the next fetch starts over, because reading cannot continue here
                if isinstance(exc, Gone):  # the repository itself exists
                    raise Unusable(f"a page of the list of commits is missing: {exc}", "other") from exc
                raise
        if history.latest:
            reading.take("last_commit_date", lambda: date(history.latest))
        if not branch or not client.memory["next"]:
            reading.take("commit_count", lambda: count(history.count))
            reading.take("commits_over_52w", lambda: history.weeks)
            reading.take("participants", lambda: history.participants)
        return reading

    def _branch(self, client: Client) -> str:
        """Return the name of the main branch; "": there are no commits, and so no branch."""
        data = client.get(self._repository, conditional=False).data or {}
        try:
            branch = get(data, "mainbranch", dict, "an object")
            return (text_of(branch, "name") or "") if branch else ""
        except BadField as exc:
            raise Unusable(f"Bitbucket names no main branch: {exc}", "other") from exc

    def _walk(self, client: Client, branch: str) -> History:
        """Return the history as far as it was read. `client.memory` stores where the next fetch continues."""
        memory = recall(client, self.url)
        if memory and not memory["next"]:
            history = self._with_news(client, branch, History.of(memory["history"]))
            if history:
                return history
            memory = {}
        if memory:
            return self._go_on(client, History.of(memory["history"]), memory["next"])
        history = History()
        follow = self._add(client, history, self._commits(include=branch))
        if follow:  # start from the newest commit, not from the branch, whose pages shift with each push
            return self._go_on(client, History(), self._commits(include=history.head))
        remember(client, self.url, history, next="")
        return history

    def _go_on(self, client: Client, history: History, follow: str) -> History:
        for _ in range(_PAGES):
            follow = self._add(client, history, follow)
            remember(client, self.url, history, next=follow)
            if not follow:
                break
        return history

    def _with_news(self, client: Client, branch: str, known: History) -> History | None:
        """Return `known` with all newer commits added; None: `known` is no longer part of the history."""
        news = History()
        follow = self._commits(include=branch, exclude=known.head)
        try:
            for _ in range(_PAGES):
                follow = self._add(client, news, follow)
                if not follow:
                    break
            # After a push that rewrote the history, Bitbucket may still know the old head for a long time.
            left = self._page(client, self._commits(include=known.head, exclude=branch))[0] if news.count else []
        except Gone:
            return None
        if left or follow:
            return None
        news.add_older(known)
        remember(client, self.url, news, next="")
        return news

    def _add(self, client: Client, history: History, address: str) -> str:
        """Add a page to `history`. Returns the address of the next page; "": there is none."""
        commits, follow = self._page(client, address)
        history.add(commits)
        if not history.head and commits:
            raise Unusable("the newest commit has no hash", "other")
        if history.count > _MOST:
            raise Unusable(f"the repository has more than {_MOST:,} commits", "other")
        return follow if commits else ""

    def _page(self, client: Client, address: str) -> tuple[list[Commit], str]:
        data = client.get(address, conditional=False, empty={400}).data
        if data is None:
            raise Gone("Bitbucket does not know these commits", "gone")
        try:
            commits = commits_in(get(data, "values", list, "a list") or [], _commit)
            follow = (text_of(data, "next") or "") if "next" in data else ""
        except BadField as exc:
            raise Unusable(f"Bitbucket's list of commits cannot be used: {exc}", "other") from exc
        if len(follow) > _LONGEST_ADDRESS:
            raise Unusable("the address of Bitbucket's next page is too long", "other")
        return commits, follow

    def _commits(self, **query: str) -> str:
        return f"{self._repository}/commits?{urlencode({**query, 'pagelen': 100})}"

    parts: ClassVar = {"metadata": metadata, "watchers": watchers, "forks": forks, "history": history}


def _commit(data: Any) -> Commit:
    raw = _NAME.sub("", text_at(data, "author", "raw"))
    name = text_at(data, "author", "user", "nickname") or text_at(data, "author", "user", "display_name") or raw
    return Commit(text_at(data, "hash"), time_at(data, "date"), name)
