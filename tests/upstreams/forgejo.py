"""Forgejo's API, version 1, as of Codeberg and of self-hosted servers.

Its peculiarities: it sends no ETags; a repository that is not archived was archived in 1970; it
has no list of contributors; pages are of at most 50; times are those of the server's zone.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, tzinfo
from typing import Any

from aiohttp import web

from tests.upstreams.answering import Page, behind, link_header, with_query
from tests.upstreams.repositories import Commit, FakeRepo, Person
from tests.upstreams.upstream import Upstream


class Forgejo(Upstream):
    host = ""
    """Where people see it; "": where the API is."""
    zone: tzinfo = UTC

    def routes(self) -> list[web.RouteDef]:
        repo = "/api/v1/repos/{owner}/{name}"
        version = web.get("/api/v1/version", self._version)
        return [version, web.get(repo, self._repo), web.get(f"{repo}/commits", self._commits)]

    def missing(self, status: int, name: str) -> web.Response:
        data = {"message": "The target couldn't be found.", "url": f"{self.url}/api/swagger", "errors": []}
        return web.json_response(data, status=status)

    def moved(self, request: web.Request, repo: FakeRepo) -> web.Response:
        path = f"/api/v1/repos/{repo.full_name}{behind(request, 5)}"
        return web.Response(status=307, text=f'<a href="{path}">Temporary Redirect</a>.', headers={"Location": path})

    def _asked(self, request: web.Request) -> FakeRepo:
        return self.find(request, f"{request.match_info['owner']}/{request.match_info['name']}")

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "12.0.1+gitea-1.22.0"})

    async def _repo(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        page = f"{self.host or self.url}/{repo.full_name}"
        archived_at = repo.archived_at or datetime.fromtimestamp(0, UTC)
        data = {
            "id": repo.id,
            "owner": self._user(repo.owner),
            "name": repo.name,
            "full_name": repo.full_name,
            "description": repo.description,
            "empty": repo.empty,
            "private": False,
            "fork": False,
            "parent": None,
            "mirror": False,
            "language": "" if repo.empty else "Python",
            "html_url": page,
            "url": f"{self.url}/api/v1/repos/{repo.full_name}",
            "stars_count": repo.stars,
            "forks_count": repo.forks,
            "watchers_count": repo.stars // 10 + 1,
            "open_issues_count": repo.id % 50,
            "default_branch": repo.default_branch,
            "archived": repo.archived_at is not None,
            "created_at": self._time(repo.created_at),
            "updated_at": self._time(repo.updated_at),
            "archived_at": self._time(archived_at),
        }
        return self.json(request, data, {"Cache-Control": "max-age=0, private, must-revalidate, no-transform"})

    async def _commits(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        if repo.empty:
            data = {"message": "Git Repository is empty.", "url": f"{self.url}/api/swagger"}
            return web.json_response(data, status=409)
        history = repo.history(request.query.get("sha", ""))
        if history is None:
            return self.missing(404, repo.full_name)
        page = self.page(request, repo, history, "limit", 30, 50)
        headers = {
            **self._links(request, repo, page),
            "X-Total-Count": str(page.total),
            "X-Total": str(page.total),
            "X-Page": str(page.number),
            "X-PerPage": str(page.size),
            "X-PageCount": str(page.last),
            "X-HasMore": str(page.number < page.last).lower(),
        }
        wanted = {name: request.query.get(name) != "false" for name in ("stat", "verification", "files")}
        return self.json(request, [self._commit(commit, repo, **wanted) for commit in page.items], headers)

    def _links(self, request: web.Request, repo: FakeRepo, page: Page) -> dict[str, str]:
        def address(number: int) -> str:
            return with_query(f"{self.url}{request.path}", request, page=number)

        return link_header(
            ",",
            next=self.next_url(page, repo, address),
            last=address(page.last) if page.number < page.last else "",
            first=address(1) if page.number > 1 else "",
            prev=address(page.number - 1) if page.number > 1 else "",
        )

    def _commit(self, commit: Commit, repo: FakeRepo, *, stat: bool, verification: bool, files: bool) -> dict[str, Any]:
        api, date, person = f"{self.url}/api/v1/repos/{repo.full_name}/git", self._time(commit.date), commit.author
        signature = {"name": person.name, "email": person.email, "date": date}
        user = self._user(person.login, person) if person.login else None
        unsigned = {"verified": False, "reason": "gpg.error.not_signed_commit", "signature": "", "signer": None}
        parents = [commit.parent] if commit.parent else []
        return {
            "url": f"{api}/commits/{commit.sha}",
            "sha": commit.sha,
            "created": date,
            "html_url": f"{self.host or self.url}/{repo.full_name}/commit/{commit.sha}",
            "commit": {
                "url": f"{api}/commits/{commit.sha}",
                "author": signature,
                "committer": signature,
                "message": "Make it better\n",
                "tree": {"url": f"{api}/trees/{commit.sha}", "sha": commit.sha, "created": date},
                "verification": unsigned if verification else None,
            },
            "author": user,
            "committer": user,
            "parents": [{"url": f"{api}/commits/{sha}", "sha": sha, "created": date} for sha in parents],
            "files": [{"filename": "README.md", "status": "modified"}] if files else None,
            "stats": {"total": 2, "additions": 1, "deletions": 1} if stat else None,
        }

    def _user(self, login: str, person: Person | None = None) -> dict[str, Any]:
        return {
            "id": zlib.crc32(login.encode()),
            "login": login,
            "full_name": person.name if person else "",
            "email": f"{login}@noreply.example",
            "html_url": f"{self.host or self.url}/{login}",
            "username": login,
        }

    def _time(self, when: datetime) -> str:
        return when.astimezone(self.zone).isoformat().replace("+00:00", "Z")
