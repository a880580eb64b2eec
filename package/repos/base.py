"""The base class of the repositories of all hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Self

from package.models import Package
from package.repos.address import Address, NotARepository, split
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.fields import BadField, Json, Malformed, Reading, can_be_right, count_of, get, text_of, time_at

__all__ = ["Address", "NotARepository", "Repository", "split"]

_LONGEST_DESCRIPTION = 2000
"""Maximum number of characters of a description. No host allows more."""


class Repository:
    """A repository on one of the hosts. Each of its parts is fetched separately."""

    source: ClassVar[str]
    """Name of the host in `Package.repo_host`, in source statuses and in the settings."""
    untrusted: ClassVar[bool] = False
    """Whether users determine the server."""
    parts: ClassVar[Mapping[str, Callable[[Any, Client], Reading]]]
    """Functions that fetch the parts, by the name of the part.

    They are called with the repository and a client, and raise the errors of `Client.get`. The first part shows whether
    the repository exists.
    """

    form: ClassVar[str] = "owner/name"
    owner: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
    name: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9._-]{1,100}")
    reserved: ClassVar[str] = ""
    """The first segments of paths that are not owners, separated by spaces."""

    def __init__(self, server: Server, web: str, path: str) -> None:
        """Create a repository; no request is sent.

        :param web: the address of the server's pages, without a trailing slash.
        :param path: "owner/name".
        """
        self.server = server
        self.web = web
        self.path = path

    @classmethod
    def among(cls, names: Sequence[str], address: Address, server: Server, web: str) -> Self:
        """Return the repository to which the path segments `names` lead.

        :raises NotARepository: if they do not lead to a repository.
        """
        path = cls.path_in(names)
        if not path:
            usual = f"{server.name} has repositories at {web}/{cls.form}"
            raise NotARepository(f"{address} is not the address of a repository: {usual}")
        return cls(server, web, path)

    @classmethod
    def path_in(cls, names: Sequence[str]) -> str:
        """Return "owner/name" from the path segments of a page of a repository; "": this is not such a page."""
        owner, name = [*names, "", ""][:2]
        name = name.removesuffix(".git")
        known = cls.owner.fullmatch(owner) and cls.name.fullmatch(name) and owner.lower() not in cls.reserved.split()
        return f"{owner}/{name}" if known and name.strip(".") else ""

    @property
    def url(self) -> str:
        """The address of the repository's page."""
        return f"{self.web}/{self.path}"

    def moved_to(self, path: str | None) -> str:
        """Return the new address of the repository's page if `path` differs from the known path; otherwise ""."""
        if not path or path.casefold() == self.path.casefold():
            return ""
        return f"{self.web}/{path}"

    def read(self, data: Json, *, stars: str, forks: str, path: str) -> Reading:
        """Read the fields that all hosts provide. `stars`, `forks` and `path` are the keys that this host uses."""
        reading = Reading()
        reading.take("repo_watchers", partial(count_of, data, stars))
        reading.take("repo_forks", partial(count_of, data, forks))
        self.take_description(reading, data, path)
        return reading

    def take_description(self, reading: Reading, data: Json, key: str) -> None:
        """Read the description, and the current path of the repository from `key`."""

        def moved_to() -> str | None:
            path = text_of(data, key)
            if not path:
                raise Malformed("is empty")
            if self.path_in(path.split("/")) != path:
                raise BadField("is not the name of a repository")
            return self.moved_to(path) or None

        found: dict[str, Any] = {}
        reading.put(found, Package, "repo_url", moved_to)
        reading.moved_to = found.get("repo_url", "")
        reading.take("repo_description", partial(description_of, data), withdraw=True)


def description_of(data: Json) -> str | None:
    value = text_of(data, "description")
    return value and value[:_LONGEST_DESCRIPTION]


def take_archived(reading: Reading, data: Json, *dates: str, earliest: datetime) -> None:
    """Read the date of archiving, if the repository is archived.

    :param dates: keys of dates. The first one with a valid date that is not before `earliest` is used.
    """

    def archived_since() -> datetime | None:
        if not get(data, "archived", bool, "true or false"):
            return None
        for key in dates:
            if (when := time_at(data, key)) and can_be_right(when, earliest):
                return when
        raise BadField("the answer has no valid date")

    reading.take("date_repo_archived", archived_since)
    if data.get("archived") is False:
        reading.package["date_repo_archived"] = None  # `take` would omit None, but an old date must be removed
