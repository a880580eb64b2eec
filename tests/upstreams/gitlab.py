"""GitLab's REST API, version 4.

Its peculiarities: anonymous clients do not learn whether a project is archived or
empty; contributors come with the least busy first, and only of the newest 2,000 commits; a full page of commits always
names a next one, which may be empty; a moved project redirects, but only a GET.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from tests.upstreams.answering import Page, behind, link_header, with_query
from tests.upstreams.quota import Quota
from tests.upstreams.repositories import Commit, FakeRepo, count_contributors
from tests.upstreams.requested import authorization
from tests.upstreams.upstream import Upstream


class GitLab(Upstream):
    sends_validators = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quota = Quota(2000, window=60)

    def routes(self) -> list[web.RouteDef]:
        project = "/api/v4/projects/{id}"
        return [
            web.get(project, self._project),
            web.get(f"{project}/repository/contributors", self._contributors),
            web.get(f"{project}/repository/commits", self._commits),
            web.get(project + "/repository/commits/{ref}/sequence", self._sequence),
        ]

    def missing(self, status: int, name: str) -> web.Response:
        what = {404: "Project Not Found", 410: "Gone"}.get(status, "Unavailable")
        return web.json_response({"message": f"{status} {what}"}, status=status)

    def moved(self, request: web.Request, repo: FakeRepo) -> web.Response:
        if request.method != "GET":
            message = {"message": "Non GET methods are not allowed for moved projects"}
            return web.json_response(message, status=405)
        url = f"{self.url}/api/v4/projects/{repo.id}{behind(request, 4)}"
        return web.Response(status=301, text=f"This resource has been moved to {url}", headers={"Location": url})

    def limits(self, quota: Quota) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(quota.limit),
            "RateLimit-Name": "throttle_authenticated_api",
            "RateLimit-Observed": str(quota.used),
            "RateLimit-Remaining": str(quota.remaining),
            "RateLimit-Reset": str(round(quota.resets_at)),
            "RateLimit-ResetTime": format_datetime(datetime.fromtimestamp(quota.resets_at, UTC), usegmt=True),
        }

    def refusal(self, request: web.Request, quota: Quota) -> web.Response:
        return web.Response(status=429, text="Retry later\n", headers={"Retry-After": str(quota.reset_in)})

    def _asked(self, request: web.Request) -> FakeRepo:
        name = request.match_info["id"]
        return self.find_by_id(name) if name.isdecimal() else self.find(request, name)

    async def _project(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        data = _described(repo)
        if authorization(request):
            data |= {"archived": repo.archived_at is not None, "empty_repo": repo.empty, "visibility": "public"}
        return self.json(request, data)

    async def _contributors(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        order, sort = request.query.get("order_by", "commits"), request.query.get("sort", "asc")
        people: list[dict[str, Any]] = [
            {"name": one.person.name, "email": one.person.email, "commits": one.commits}
            for one in count_contributors(repo.commits[:2000])
        ]
        people.sort(key=lambda person: person.get(order, ""), reverse=sort == "desc")
        page = self.page(request, repo, people, "per_page", 20, 100)
        headers = self._pagination(request, repo, page, order_by=order, sort=sort)
        headers |= {"X-Total": str(page.total), "X-Total-Pages": str(page.last)}
        return self.json(request, page.items, headers)

    async def _commits(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        history = repo.history(request.query.get("ref_name", ""))
        if history is None:
            return web.json_response({"message": "404 Commit Not Found"}, status=404)
        if since := request.query.get("since"):
            try:
                history = history.since(datetime.fromisoformat(since))
            except ValueError:
                return web.json_response({"error": "since is invalid"}, status=400)
        page = self.page(request, repo, history, "per_page", 20, 100)
        headers = self._pagination(request, repo, page, counted=False, order="default", trailers="false")
        return self.json(request, [_commit(commit, repo) for commit in page.items], headers)

    async def _sequence(self, request: web.Request) -> web.Response:
        repo = self._asked(request)
        history = repo.history(request.match_info["ref"])
        if not history:
            return web.json_response({"message": "404 Commit Not Found"}, status=404)
        return self.json(request, {"count": len(history)})

    def _pagination(
        self, request: web.Request, repo: FakeRepo, page: Page, *, counted: bool = True, **defaults: str
    ) -> dict[str, str]:
        project = request.match_info["id"]

        def address(number: int) -> str:
            url = f"{self.url}{request.raw_path.partition('?')[0]}"
            return with_query(url, request, **defaults, id=project, page=number, per_page=page.size)

        full = None if counted else len(page.items) == page.size
        following = self.next_url(page, repo, address, more=full)
        links = link_header(
            prev=address(page.number - 1) if page.number > 1 else "",
            next=following,
            first=address(1),
            last=address(page.last) if counted else "",
        )
        return {
            **links,
            "X-Page": str(page.number),
            "X-Per-Page": str(page.size),
            "X-Prev-Page": str(page.number - 1 or ""),
            "X-Next-Page": str(page.number + 1) if following else "",
        }


def _described(repo: FakeRepo) -> dict[str, Any]:
    return {
        "id": repo.id,
        "description": repo.description,
        "name": repo.name,
        "name_with_namespace": repo.full_name.replace("/", " / "),
        "path": repo.name,
        "path_with_namespace": repo.full_name,
        "created_at": _time(repo.created_at),
        "default_branch": repo.default_branch,
        "topics": [],
        "web_url": f"https://gitlab.com/{repo.full_name}",
        "forks_count": repo.forks,
        "avatar_url": None,
        "star_count": repo.stars,
        "last_activity_at": _time(repo.updated_at),
        "namespace": {"id": repo.id + 1, "name": repo.owner, "kind": "group", "full_path": repo.owner},
    }


def _commit(commit: Commit, repo: FakeRepo) -> dict[str, Any]:
    date, person = commit.date.isoformat(timespec="milliseconds"), commit.author
    return {
        "id": commit.sha,
        "short_id": commit.sha[:8],
        "created_at": date,
        "parent_ids": [commit.parent] if commit.parent else [],
        "title": "Make it better",
        "message": "Make it better",
        "author_name": person.name,
        "author_email": person.email,
        "authored_date": date,
        "committed_date": date,
        "web_url": f"https://gitlab.com/{repo.full_name}/-/commit/{commit.sha}",
    }


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
