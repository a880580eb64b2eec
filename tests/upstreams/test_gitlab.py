from __future__ import annotations

from urllib.parse import quote

import pytest
import requests

from tests.upstreams.conftest import Pick, repo_of
from tests.upstreams.gitlab import GitLab
from tests.upstreams.quota import Quota
from tests.upstreams.repositories import FakeRepo
from tests.upstreams.server import Upstreams
from tests.upstreams.world import FakePackage, World


@pytest.fixture
def gitlab(upstreams: Upstreams) -> GitLab:
    return upstreams.gitlab


@pytest.fixture
def package(pick: Pick) -> FakePackage:
    return pick("gitlab")


@pytest.fixture
def repo(world: World, package: FakePackage) -> FakeRepo:
    return repo_of(world, package)


@pytest.fixture
def url(gitlab: GitLab, repo: FakeRepo) -> str:
    return f"{gitlab.url}/api/v4/projects/{quote(repo.full_name, safe='')}"


def test_project(url: str, gitlab: GitLab, repo: FakeRepo) -> None:
    """A project is described under its path and its number; who says who they are learns more."""
    data = requests.get(url).json()
    assert (data["path_with_namespace"], data["star_count"]) == (repo.full_name, repo.stars)
    assert requests.get(f"{gitlab.url}/api/v4/projects/{repo.id}").json() == data
    more = requests.get(url, headers={"PRIVATE-TOKEN": "secret"}).json()
    assert set(more) - set(data) == {"archived", "empty_repo", "visibility"}


def test_not_modified(url: str, world: World, package: FakePackage) -> None:
    """GitLab's tags are weak, and good until something changes."""
    tag = requests.get(url).headers["ETag"]
    assert tag.startswith('W/"')
    assert requests.get(url, headers={"If-None-Match": tag}).status_code == 304
    world.change(package)
    assert requests.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_contributors(url: str, repo: FakeRepo) -> None:
    """Contributors are counted, and come with the least busy first."""
    response = requests.get(f"{url}/repository/contributors?per_page=100")
    commits = [one["commits"] for one in response.json()]
    assert (sum(commits), commits) == (len(repo.commits), sorted(commits))
    assert (response.headers["X-Total"], response.headers["X-Total-Pages"]) == (str(len(commits)), "1")
    best = requests.get(f"{url}/repository/contributors?per_page=1&order_by=commits&sort=desc")
    assert best.json()[0]["commits"] == commits[-1]
    assert set(best.links) == {"next", "first", "last"}


def test_commits(url: str, repo: FakeRepo) -> None:
    """The number of pages of commits is unknown; a full page always has a next one."""
    count = len(repo.commits)
    full = requests.get(f"{url}/repository/commits?per_page=1&page={count}")
    assert (full.json()[0]["id"], full.headers["X-Next-Page"]) == (repo.commits[-1].sha, str(count + 1))
    assert "X-Total" not in full.headers
    empty = requests.get(full.links["next"]["url"])
    assert (empty.json(), empty.headers["X-Next-Page"], set(empty.links)) == ([], "", {"prev", "first"})
    since = repo.commits[2].date.isoformat().replace("+00:00", "Z")
    assert len(requests.get(f"{url}/repository/commits", {"since": since, "ref_name": "main"}).json()) == 3
    assert requests.get(f"{url}/repository/commits", {"since": "yesterday"}).status_code == 400


def test_commit_count(url: str, repo: FakeRepo) -> None:
    """How many commits there are is another question."""
    assert requests.get(f"{url}/repository/commits/main/sequence").json() == {"count": len(repo.commits)}


def test_moved(url: str, gitlab: GitLab, repo: FakeRepo) -> None:
    """The old path redirects to the number, if it is a GET."""
    gitlab.rename(repo.full_name, "new/sub/name")
    redirect = requests.get(f"{url}/repository/commits?per_page=1", allow_redirects=False)
    target = f"{gitlab.url}/api/v4/projects/{repo.id}/repository/commits?per_page=1"
    assert (redirect.status_code, redirect.headers["Location"]) == (301, target)
    assert requests.get(url).json()["path_with_namespace"] == "new/sub/name"
    assert requests.head(url).status_code == 405


def test_empty_and_missing(url: str, gitlab: GitLab, repo: FakeRepo) -> None:
    """A project without commits has none; no project is an error."""
    gitlab.make_empty(repo.full_name)
    assert requests.get(f"{url}/repository/commits").json() == []
    assert requests.get(f"{url}/repository/commits/main/sequence").status_code == 404
    assert requests.get(f"{gitlab.url}/api/v4/projects/no%2Fthing").json() == {"message": "404 Project Not Found"}


def test_quota(url: str, gitlab: GitLab) -> None:
    """A request beyond the quota is refused with the time of the next window."""
    gitlab.quota = quota = Quota(2, window=60, clock=lambda: 1_000_000.0)
    assert requests.get(url).headers["RateLimit-Remaining"] == "1"
    quota.set(remaining=0, reset_in=20)
    refused = requests.get(url)
    assert (refused.status_code, refused.text, refused.headers["Retry-After"]) == (429, "Retry later\n", "20")
    assert refused.headers["RateLimit-Reset"] == "1000020"
