"""Bitbucket Cloud's REST API, version 2.0.

Its peculiarities: there is no number of commits, and no repository is archived; the next page is a URL to
be followed unchanged; a page must not be too long; a commit's author need not have an account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from tests.upstreams.answering import Answered, Page, asked_number, behind, with_query
from tests.upstreams.repositories import PEOPLE, Commit, Commits, FakeRepo, Person
from tests.upstreams.upstream import Upstream


class Bitbucket(Upstream):
    def routes(self) -> list[web.RouteDef]:
        repo = "/2.0/repositories/{owner}/{name}"
        return [
            web.get(repo, self._repo),
            web.get(f"{repo}/watchers", self._watchers),
            web.get(f"{repo}/forks", self._forks),
            web.get(f"{repo}/commits", self._commits),
            web.get(f"{repo}/commits/{{ref}}", self._commits),
        ]

    def missing(self, status: int, name: str) -> web.Response:
        message = (
            "You may not have access to this repository or it no longer exists in this workspace. "
            "If you think this repository exists and you have access, make sure you are authenticated."
        )
        return _error(status, message)

    def moved(self, request: web.Request, repo: FakeRepo) -> web.Response:
        url = f"{self.url}/2.0/repositories/{repo.full_name}{behind(request, 4)}"
        return web.Response(status=301, headers={"Location": url})

    def _asked(self, request: web.Request) -> FakeRepo:
        return self.find(request, f"{request.match_info['owner']}/{request.match_info['name']}")

    async def _repo(self, request: web.Request) -> web.Response:
        return self.json(request, _described(self._asked(request), self.url))

    async def _watchers(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        return self._counted(request, repo, repo.stars, lambda n: _user(PEOPLE[(repo.id + n) % len(PEOPLE)]))

    async def _forks(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        fork = {"type": "repository", "name": repo.name, "slug": repo.name}
        return self._counted(request, repo, repo.forks, lambda n: {**fork, "full_name": f"fork-{n}/{repo.name}"})

    async def _commits(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        history = repo.history(request.match_info.get("ref") or request.query.get("include", ""))
        excluded = repo.history(request.query["exclude"]) if "exclude" in request.query else Commits(repo, 0)
        if history is None or excluded is None:
            return _error(404, "Commit not found")
        page = self._page(request, repo, history.without(excluded), 30)
        data = {"pagelen": page.size, "values": [_commit(commit, repo) for commit in page.items]}
        context = repo.commits[0].sha if repo.commits else ""
        return self.json(request, data | self._next(request, repo, page, ctx=context))

    def _counted(
        self, request: web.Request, repo: FakeRepo, count: int, describe: Callable[[int], dict[str, Any]]
    ) -> web.Response:
        page = self._page(request, repo, range(count), 10)
        values = [describe(n) for n in page.items]
        data = {"values": values, "pagelen": page.size, "size": page.total, "page": page.number}
        return self.json(request, data | self._next(request, repo, page))

    def _page(self, request: web.Request, repo: FakeRepo, everything: Sequence[Any], default: int) -> Page:
        if asked_number(request, "pagelen", default) > 100:
            raise Answered(_error(400, "Invalid pagelen"))
        return self.page(request, repo, everything, "pagelen", default, 100)

    def _next(self, request: web.Request, repo: FakeRepo, page: Page, **more: str) -> dict[str, str]:
        def address(number: int) -> str:
            return with_query(f"{self.url}{request.path}", request, **more, page=number)

        url = self.next_url(page, repo, address)
        return {"next": url} if url else {}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"message": message}}, status=status)


def _user(person: Person) -> dict[str, Any]:
    return {
        "display_name": person.name,
        "type": "user",
        "uuid": f"{{{UUID(int=PEOPLE.index(person))}}}",
        "nickname": person.login or person.name,
    }


def _described(repo: FakeRepo, url: str) -> dict[str, Any]:
    api, page = f"{url}/2.0/repositories/{repo.full_name}", f"https://bitbucket.org/{repo.full_name}"
    return {
        "type": "repository",
        "full_name": repo.full_name,
        "links": {
            "self": {"href": api},
            "html": {"href": page},
            **{name: {"href": f"{api}/{name}"} for name in ("commits", "watchers", "forks")},
        },
        "name": repo.name,
        "slug": repo.name,
        "description": repo.description,
        "scm": "git",
        "workspace": {"type": "workspace", "slug": repo.owner, "name": repo.owner},
        "language": "python",
        "mainbranch": None if repo.empty else {"name": repo.default_branch, "type": "branch"},
        "parent": None,
        "uuid": f"{{{UUID(int=repo.id)}}}",
        "is_private": False,
        "size": 1000 * len(repo.commits),
        "created_on": repo.created_at.isoformat(timespec="microseconds"),
        "updated_on": repo.updated_at.isoformat(timespec="microseconds"),
    }


def _commit(commit: Commit, repo: FakeRepo) -> dict[str, Any]:
    person = commit.author
    account = {"user": _user(person)} if person.login else {}
    return {
        "type": "commit",
        "hash": commit.sha,
        "date": commit.date.isoformat(),
        "author": {"type": "author", "raw": f"{person.name} <{person.email}>", **account},
        "message": "Make it better\n",
        "parents": [{"hash": commit.parent, "type": "commit"}] if commit.parent else [],
        "repository": {"type": "repository", "full_name": repo.full_name, "uuid": f"{{{UUID(int=repo.id)}}}"},
    }
