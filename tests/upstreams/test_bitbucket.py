from __future__ import annotations

import pytest
import requests

from tests.upstreams.bitbucket import Bitbucket
from tests.upstreams.conftest import Pick, repo_of
from tests.upstreams.repositories import FakeRepo
from tests.upstreams.server import Upstreams
from tests.upstreams.world import World


@pytest.fixture
def bitbucket(upstreams: Upstreams) -> Bitbucket:
    return upstreams.bitbucket


@pytest.fixture
def repo(world: World, pick: Pick) -> FakeRepo:
    return repo_of(world, pick("bitbucket"))


@pytest.fixture
def url(bitbucket: Bitbucket, repo: FakeRepo) -> str:
    return f"{bitbucket.url}/2.0/repositories/{repo.full_name}"


def test_repository(url: str, repo: FakeRepo) -> None:
    """A repository is described; who watches and forks it is counted elsewhere."""
    response = requests.get(url)
    data = response.json()
    assert (data["full_name"], data["mainbranch"]["name"]) == (repo.full_name, "main")
    assert "ETag" not in response.headers
    assert requests.get(f"{url}/watchers?pagelen=1").json()["size"] == repo.stars
    assert requests.get(f"{url}/forks?pagelen=1").json()["size"] == repo.forks


def test_commits(url: str, repo: FakeRepo) -> None:
    """The pages contain all commits once, without their number."""
    seen, following = [], f"{url}/commits?pagelen=100"
    while following:
        data = requests.get(following).json()
        assert "size" not in data
        seen += [commit["hash"] for commit in data["values"]]
        following = data.get("next", "")
    assert seen == [commit.sha for commit in repo.commits]


def test_authors(url: str, repo: FakeRepo) -> None:
    """Only an author with an account is a user."""
    authors = [commit["author"] for commit in requests.get(f"{url}/commits?pagelen=100").json()["values"]]
    assert ["user" in author for author in authors] == [bool(one.author.login) for one in repo.commits[:100]]


def test_part_of_the_history(url: str, repo: FakeRepo) -> None:
    """Commits can be asked for from one to another."""
    query = {"include": repo.commits[1].sha, "exclude": repo.commits[4].sha}
    found = requests.get(f"{url}/commits", query).json()["values"]
    assert [commit["hash"] for commit in found] == [commit.sha for commit in repo.commits[1:4]]
    assert requests.get(f"{url}/commits", {"exclude": "0" * 40}).status_code == 404


def test_errors(url: str, bitbucket: Bitbucket, repo: FakeRepo) -> None:
    """Errors are JSON."""
    assert requests.get(f"{url}/commits?pagelen=101").json()["error"] == {"message": "Invalid pagelen"}
    bitbucket.remove(repo.full_name)
    response = requests.get(url)
    assert (response.status_code, response.json()["type"]) == (404, "error")


def test_renamed_and_empty(url: str, bitbucket: Bitbucket, repo: FakeRepo) -> None:
    """The old name redirects to the new one; without commits there is no branch."""
    bitbucket.rename(repo.full_name, "new/name")
    bitbucket.make_empty("new/name")
    redirect = requests.get(f"{url}/commits?pagelen=1", allow_redirects=False)
    assert redirect.headers["Location"] == f"{bitbucket.url}/2.0/repositories/new/name/commits?pagelen=1"
    assert requests.get(url).json()["mainbranch"] is None
    assert requests.get(f"{url}/commits").json()["values"] == []
