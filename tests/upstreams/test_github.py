from __future__ import annotations

import pytest
import requests

from tests.upstreams.conftest import Pick, repo_of
from tests.upstreams.github import GitHub, secondary_limit
from tests.upstreams.quota import Quota
from tests.upstreams.repositories import FakeRepo
from tests.upstreams.server import Upstreams
from tests.upstreams.world import FakePackage, World

TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture
def github(upstreams: Upstreams) -> GitHub:
    return upstreams.github


@pytest.fixture
def package(pick: Pick) -> FakePackage:
    return pick("github")


@pytest.fixture
def repo(world: World, package: FakePackage) -> FakeRepo:
    return repo_of(world, package)


@pytest.fixture
def url(github: GitHub, repo: FakeRepo) -> str:
    return f"{github.url}/repos/{repo.full_name}"


def test_repository(url: str, repo: FakeRepo, github: GitHub) -> None:
    """A repository is found by its name, in any case, and by its number."""
    data = requests.get(url).json()
    assert (data["full_name"], data["stargazers_count"], data["forks_count"]) == (
        repo.full_name,
        repo.stars,
        repo.forks,
    )
    assert data["archived"] is (repo.archived_at is not None)
    assert requests.get(f"{github.url}/repositories/{repo.id}").json() == data
    assert requests.get(f"{github.url}/repos/{repo.full_name.upper()}").json() == data
    assert requests.head(url).headers["Content-Type"].startswith("application/json")


def test_not_modified(url: str, world: World, package: FakePackage) -> None:
    """Tags and dates are good until something changes; a tag is good for its token only."""
    first = requests.get(url, headers=TOKEN)
    tag, date = {"If-None-Match": first.headers["ETag"]}, {"If-Modified-Since": first.headers["Last-Modified"]}
    assert [requests.get(url, headers=TOKEN | known).status_code for known in (tag, date)] == [304, 304]
    assert requests.get(url, headers={"Authorization": "Bearer other"} | tag).status_code == 200
    world.change(package)
    assert [requests.get(url, headers=TOKEN | known).status_code for known in (tag, date)] == [200, 200]


def test_commit_count(url: str, repo: FakeRepo, github: GitHub) -> None:
    """With one commit to a page the last page's number is their count; links name the repository by number."""
    response = requests.get(f"{url}/commits?per_page=1")
    count = len(repo.commits)
    assert response.links["last"]["url"] == f"{github.url}/repositories/{repo.id}/commits?per_page=1&page={count}"
    commit = response.json()[0]
    assert (commit["sha"], commit["commit"]["author"]["name"]) == (repo.commits[0].sha, repo.commits[0].author.name)


def test_pages(url: str, repo: FakeRepo) -> None:
    """The linked pages contain every item once."""
    seen, following = [], f"{url}/commits?per_page=100&sha={repo.default_branch}"
    while following:
        response = requests.get(following)
        seen += [commit["sha"] for commit in response.json()]
        following = response.links.get("next", {}).get("url", "")
    assert seen == [commit.sha for commit in repo.commits]
    assert set(response.links) == ({"prev", "first"} if len(seen) > 100 else set())


def test_contributors(url: str, repo: FakeRepo) -> None:
    """Contributors without an account are included only on request."""
    known = requests.get(f"{url}/contributors?per_page=100").json()
    everyone = requests.get(f"{url}/contributors?per_page=100&anon=1").json()
    assert sum(one["contributions"] for one in everyone) == len(repo.commits)
    assert [one for one in everyone if one["type"] == "User"] == known


def test_empty(url: str, github: GitHub, repo: FakeRepo) -> None:
    """A repository without commits has a conflict with those who ask for them."""
    github.make_empty(repo.full_name)
    statuses = [requests.get(url + path).status_code for path in ("", "/commits", "/contributors")]
    assert statuses == [200, 409, 204]


def test_statistics(url: str, world: World, package: FakePackage, repo: FakeRepo) -> None:
    """Statistics are ready at the second request, until there is a new commit."""
    for statistic in ("participation", "commit_activity"):
        first = requests.get(f"{url}/stats/{statistic}")
        assert (first.status_code, first.json()) == (202, {})
    weeks = requests.get(f"{url}/stats/participation").json()
    activity = requests.get(f"{url}/stats/commit_activity").json()
    assert (len(weeks["all"]), len(weeks["owner"]), len(activity)) == (52, 52, 52)
    assert 0 < sum(weeks["all"]) <= len(repo.commits)
    assert all(week["total"] == sum(week["days"]) for week in activity)
    assert activity[-1]["week"] == 1780185600  # Sunday, 31 May 2026
    world.change(package)
    assert requests.get(f"{url}/stats/commit_activity").status_code == 202
    assert requests.get(f"{url}/stats/commit_activity").json()[-1]["days"][3] == 1 + activity[-1]["days"][3]


def test_renamed(url: str, github: GitHub, repo: FakeRepo) -> None:
    """The old name redirects to the number, with the rest of the path."""
    github.rename(repo.full_name, "new/name")
    redirect = requests.get(f"{url}/commits?per_page=1", allow_redirects=False)
    target = f"{github.url}/repositories/{repo.id}/commits?per_page=1"
    assert (redirect.status_code, redirect.headers["Location"], redirect.json()["url"]) == (301, target, target)
    assert requests.get(url).json()["full_name"] == "new/name"


@pytest.mark.parametrize("status", [404, 410, 451])
def test_removed(url: str, github: GitHub, repo: FakeRepo, status: int) -> None:
    """A repository can be gone in several ways, and come back."""
    github.remove(repo.full_name, status)
    response = requests.get(url)
    assert (response.status_code, type(response.json()["message"])) == (status, str)
    github.restore()
    assert requests.get(url).status_code == 200


def test_quota(url: str, github: GitHub) -> None:
    """Requests use up the quota; a 304 is free with a token."""
    now = 1_000_000.0
    github.quota = quota = Quota(60, clock=lambda: now)
    first = requests.get(url, headers=TOKEN)
    known = {"If-None-Match": first.headers["ETag"]}
    assert requests.get(url, headers=TOKEN | known).headers["X-RateLimit-Remaining"] == "59"
    quota.set(remaining=0, reset_in=90)
    refused = requests.get(url, headers=TOKEN)
    assert (refused.status_code, refused.json()["message"][:23]) == (403, "API rate limit exceeded")
    shown = {key: value for key, value in refused.headers.items() if key.startswith("X-RateLimit-")}
    assert list(shown.values()) == ["60", "0", "60", "1000090", "core"]
    now += 90
    assert requests.get(url).headers["X-RateLimit-Remaining"] == "59"
    tag = requests.get(url).headers["ETag"]
    assert requests.get(url, headers={"If-None-Match": tag}).headers["X-RateLimit-Remaining"] == "57"


def test_secondary_limit(url: str, github: GitHub) -> None:
    """The secondary limit does not care about the quota."""
    github.fault = secondary_limit(retry_after=7)
    response = requests.get(url)
    assert (response.status_code, response.headers["Retry-After"]) == (403, "7")
    assert response.headers["X-RateLimit-Remaining"] != "0"
    assert "secondary rate limit" in response.json()["message"]


def test_pages_without_end(url: str, github: GitHub, repo: FakeRepo) -> None:
    """Pages can go on for ever, or elsewhere."""
    github.page_endlessly(repo.full_name)
    response = requests.get(f"{url}/commits?per_page=100&page=1000")
    assert response.json()
    assert response.links["next"]["url"].endswith("&page=1001")
    github.page_elsewhere(repo.full_name, "http://elsewhere.example/")
    assert requests.get(f"{url}/commits").links["next"]["url"] == "http://elsewhere.example/"
