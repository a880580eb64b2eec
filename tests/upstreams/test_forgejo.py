from __future__ import annotations

from datetime import datetime

import pytest
import requests

from tests.upstreams.conftest import Pick, repo_of
from tests.upstreams.forgejo import Forgejo
from tests.upstreams.repositories import FakeRepo
from tests.upstreams.server import Upstreams
from tests.upstreams.world import World


@pytest.fixture(params=["codeberg", "forgejo"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def forgejo(upstreams: Upstreams, kind: str) -> Forgejo:
    return upstreams.codeberg if kind == "codeberg" else upstreams.forgejo


@pytest.fixture
def repo(world: World, pick: Pick, kind: str) -> FakeRepo:
    return repo_of(world, pick(kind))


@pytest.fixture
def url(forgejo: Forgejo, repo: FakeRepo) -> str:
    return f"{forgejo.url}/api/v1/repos/{repo.full_name}"


def test_repository(url: str, forgejo: Forgejo, repo: FakeRepo) -> None:
    """A repository is described, with its page where people see it; there are no tags."""
    response = requests.get(url)
    data = response.json()
    assert (data["stars_count"], data["forks_count"], data["empty"]) == (repo.stars, repo.forks, False)
    assert data["html_url"] == f"{forgejo.host or forgejo.url}/{repo.full_name}"
    assert datetime.fromisoformat(data["updated_at"]) == repo.updated_at
    assert "ETag" not in response.headers


def test_archived(url: str, repo: FakeRepo) -> None:
    """A repository that is not archived has an archive date in 1970."""
    repo.archived_at = None
    data = requests.get(url).json()
    assert data["archived"] is False
    assert datetime.fromisoformat(data["archived_at"]).timestamp() == 0
    repo.archived_at = repo.updated_at
    assert datetime.fromisoformat(requests.get(url).json()["archived_at"]) == repo.archived_at


def test_commits(url: str, repo: FakeRepo) -> None:
    """Each page has the number of commits; no page has more than 50."""
    query = {"limit": "1000", "stat": "false", "verification": "false", "files": "false"}
    response = requests.get(f"{url}/commits", query)
    assert response.headers["X-Total-Count"] == response.headers["X-Total"] == str(len(repo.commits))
    assert [commit["sha"] for commit in response.json()] == [commit.sha for commit in repo.commits[:50]]
    assert (response.json()[0]["files"], response.json()[0]["stats"]) == (None, None)
    assert requests.get(response.links["next"]["url"]).json()[0]["sha"] == repo.commits[50].sha


def test_errors(url: str, forgejo: Forgejo, repo: FakeRepo) -> None:
    """A repository without commits has a conflict with those who ask for them."""
    forgejo.make_empty(repo.full_name)
    assert requests.get(f"{url}/commits").status_code == 409
    forgejo.remove(repo.full_name)
    response = requests.get(url)
    assert (response.status_code, response.json()["message"]) == (404, "The target couldn't be found.")


def test_renamed(url: str, forgejo: Forgejo, repo: FakeRepo) -> None:
    """The old name redirects for the time being, without naming the host."""
    forgejo.rename(repo.full_name, "new/name")
    redirect = requests.get(f"{url}/commits?limit=1", allow_redirects=False)
    assert (redirect.status_code, redirect.headers["Location"]) == (307, "/api/v1/repos/new/name/commits?limit=1")
    assert requests.get(url).json()["full_name"] == "new/name"
