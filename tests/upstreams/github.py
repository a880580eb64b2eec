"""GitHub's REST API.

Its peculiarities: its links and redirects have the numbers of repositories; a repository
without commits answers 409 to one request and 204 to others; statistics are computed after the first request for them.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from datetime import timedelta
from typing import Any

from aiohttp import web

from tests.upstreams.answering import Answered, Page, behind, iso, link_header, with_query
from tests.upstreams.faults import Status
from tests.upstreams.quota import Quota
from tests.upstreams.refusing import Refusing
from tests.upstreams.repositories import Commit, Contributor, FakeRepo
from tests.upstreams.requested import authorization
from tests.upstreams.upstream import Upstream

DOCS = "https://docs.github.com/rest"
WEEK = 7 * 86400


def secondary_limit(retry_after: int | None = 60, on: str = "") -> Status:
    """Make GitHub's answer to too many requests at a time, which does not depend on the quota.

    `retry_after`: None if only the message says so, as is often the case.
    """
    message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    return Status(403, retry_after, json.dumps({"documentation_url": DOCS, "message": message}), on=on)


def refusing(status: int, message: str, *, with_token: bool | None = None, on: str = "", **more: object) -> Refusing:
    """Refuse as GitHub does, most of whose quota is left. `more`: other members of the answer."""
    quota = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4321", "X-RateLimit-Reset": "4000000000"}
    says = {"message": message, "documentation_url": DOCS, "status": str(status), **more}
    return Refusing(status, says, quota, with_token=with_token, on=on)


class GitHub(Upstream):
    sends_validators = True

    pending = 1
    """How often each statistic of a repository is answered with 202, once for each commit at its head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quota = Quota(5000)
        self._statistics: Counter[tuple[int, str, str]] = Counter()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(repo + path, answer)
            for repo in ("/repos/{owner}/{name}", "/repositories/{id}")
            for path, answer in (
                ("", self._repo),
                ("/contributors", self._contributors),
                ("/commits", self._commits),
                ("/stats/participation", self._participation),
                ("/stats/commit_activity", self._commit_activity),
            )
        ]

    def missing(self, status: int, name: str) -> web.Response:
        if status == 451:
            block = {"reason": "dmca", "created_at": iso(self.world.now), "html_url": "https://github.com/github/dmca"}
            return web.json_response({"message": "Repository access blocked", "block": block}, status=status)
        return _error(status, {404: "Not Found", 410: "Gone"}.get(status, "Error"))

    def moved(self, request: web.Request, repo: FakeRepo) -> web.Response:
        return _error(301, "Moved Permanently", Location=f"{self.url}/repositories/{repo.id}{behind(request, 3)}")

    def limits(self, quota: Quota) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(quota.limit),
            "X-RateLimit-Remaining": str(quota.remaining),
            "X-RateLimit-Used": str(quota.used),
            "X-RateLimit-Reset": str(round(quota.resets_at)),
            "X-RateLimit-Resource": "core",
        }

    def refusal(self, request: web.Request, quota: Quota) -> web.Response:
        whose = "user ID 1" if authorization(request) else f"{request.remote}"
        return _error(403, f"API rate limit exceeded for {whose}.")

    def is_free(self, request: web.Request, response: web.Response) -> bool:
        return response.status == 304 and bool(authorization(request))

    def etag(self, request: web.Request, body: bytes) -> str:
        # Another token gets another tag: github.com/github/docs/issues/34689.
        return f'W/"{hashlib.sha256(body + request.headers.get("Authorization", "").encode()).hexdigest()}"'

    def _asked(self, request: web.Request) -> FakeRepo:
        where = request.match_info
        return (
            self.find_by_id(where["id"]) if "id" in where else self.find(request, f"{where['owner']}/{where['name']}")
        )

    async def _repo(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        return self.json(request, _described(repo), modified=repo.updated_at)

    async def _contributors(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        if repo.empty:
            return web.Response(status=204)
        anonymous = request.query.get("anon") in {"1", "true"}
        who = [one for one in repo.contributors if one.person.login or anonymous]
        page = self.page(request, repo, who, "per_page", 30, 100)
        return self.json(request, [_contributor(one) for one in page.items], self._links(request, repo, page))

    async def _commits(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        if repo.empty:
            return _error(409, "Git Repository is empty.")
        history = repo.history(request.query.get("sha", ""))
        if history is None:
            return _error(404, "Not Found")
        page = self.page(request, repo, history, "per_page", 30, 100)
        commits = [_commit(commit, repo, self.url) for commit in page.items]
        return self.json(request, commits, self._links(request, repo, page))

    def _links(self, request: web.Request, repo: FakeRepo, page: Page) -> dict[str, str]:
        resource = request.path.rpartition("/")[2]

        def address(number: int) -> str:
            return with_query(f"{self.url}/repositories/{repo.id}/{resource}", request, page=number)

        return link_header(
            prev=address(page.number - 1) if page.number > 1 else "",
            next=self.next_url(page, repo, address),
            last=address(page.last) if page.number < page.last else "",
            first=address(1) if page.number > 1 else "",
        )

    async def _participation(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        self._work_out(repo, "participation")
        end = self.world.now.replace(hour=0, minute=0, second=0)  # today's commits do not count
        recent = repo.commits.since(end - timedelta(weeks=52))
        everyone, owner = [0] * 52, [0] * 52
        for time, author in zip(recent.times, recent.authors, strict=True):
            weeks_ago = int(end.timestamp() - time - 1) // WEEK
            if 0 <= weeks_ago < 52:
                everyone[51 - weeks_ago] += 1
                owner[51 - weeks_ago] += author.login == repo.owner
        return self.json(request, {"all": everyone, "owner": owner})

    async def _commit_activity(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        if repo.empty:
            return web.Response(status=204)
        self._work_out(repo, "commit_activity")
        today = self.world.now.replace(hour=0, minute=0, second=0)
        first = today - timedelta(days=today.isoweekday() % 7, weeks=51)  # a Sunday
        days = Counter(int(time - first.timestamp()) // 86400 for time in repo.commits.since(first).times)
        weeks = [[days[7 * week + day] for day in range(7)] for week in range(52)]
        begin = int(first.timestamp())
        data = [{"days": week, "total": sum(week), "week": begin + n * WEEK} for n, week in enumerate(weeks)]
        return self.json(request, data)

    def _work_out(self, repo: FakeRepo, statistic: str) -> None:
        """Record that the statistics were requested. Raises `Answered` while they are not ready."""
        key = (repo.id, repo.commits[0].sha if repo.commits else "", statistic)
        if self._statistics[key] < self.pending:
            self._statistics[key] += 1
            raise Answered(web.json_response({}, status=202))


def _error(status: int, message: str, **headers: str) -> web.Response:
    data = {"message": message, "documentation_url": DOCS, "status": str(status)}
    if "Location" in headers:
        data["url"] = headers["Location"]
    return web.json_response(data, status=status, headers=headers)


def _user(login: str) -> dict[str, Any]:
    return {
        "login": login,
        "id": zlib.crc32(login.encode()),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{zlib.crc32(login.encode())}?v=4",
        "html_url": f"https://github.com/{login}",
        "type": "User",
        "site_admin": False,
    }


def _described(repo: FakeRepo) -> dict[str, Any]:
    return {
        "id": repo.id,
        "name": repo.name,
        "full_name": repo.full_name,
        "private": False,
        "owner": _user(repo.owner),
        "html_url": f"https://github.com/{repo.full_name}",
        "description": repo.description,
        "fork": False,
        "created_at": iso(repo.created_at),
        "updated_at": iso(repo.updated_at),
        "pushed_at": iso(repo.updated_at),
        "stargazers_count": repo.stars,
        "watchers_count": repo.stars,
        "language": None if repo.empty else "Python",
        "forks_count": repo.forks,
        "archived": repo.archived_at is not None,
        "disabled": False,
        "open_issues_count": repo.id % 50,
        "license": None,
        "default_branch": repo.default_branch,
        "subscribers_count": repo.stars // 10,
    }


def _contributor(one: Contributor) -> dict[str, Any]:
    person = one.person
    if person.login:
        return {**_user(person.login), "contributions": one.commits}
    return {"email": person.email, "name": person.name, "type": "Anonymous", "contributions": one.commits}


def _commit(commit: Commit, repo: FakeRepo, url: str) -> dict[str, Any]:
    repo_url, page = f"{url}/repos/{repo.full_name}", f"https://github.com/{repo.full_name}/commit"
    person = commit.author
    user = _user(person.login) if person.login else None
    signature = {"name": person.name, "email": person.email, "date": iso(commit.date)}
    parents = [commit.parent] if commit.parent else []
    return {
        "sha": commit.sha,
        "commit": {
            "author": signature,
            "committer": signature,
            "message": "Make it better",
            "url": f"{repo_url}/git/commits/{commit.sha}",
            "comment_count": 0,
        },
        "url": f"{repo_url}/commits/{commit.sha}",
        "html_url": f"{page}/{commit.sha}",
        "author": user,
        "committer": user,
        "parents": [{"sha": sha, "url": f"{repo_url}/commits/{sha}", "html_url": f"{page}/{sha}"} for sha in parents],
    }
