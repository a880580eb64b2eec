from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tests.upstreams.conftest import Pick, repo_of
from tests.upstreams.world import World

NOW = datetime(2026, 6, 3, 15, tzinfo=UTC)


def test_same_at_every_run() -> None:
    """A world depends on its seed and on the time, and a smaller one is the beginning of a larger one's."""
    one, same, other = World(300, now=NOW), World(300, now=NOW), World(300, now=NOW, seed=2)
    assert one.packages == same.packages != other.packages
    assert repo_of(one, one.packages[0]) == repo_of(same, same.packages[0])


def test_variety() -> None:
    """There is some of everything, and nothing twice."""
    world = World(2000, now=NOW)
    repos = [repo_of(world, package) for package in world.packages if package.kind]
    assert {package.kind for package in world.packages} == {"", "github", "gitlab", "bitbucket", "codeberg", "forgejo"}
    assert any(not package.pypi for package in world.packages)
    assert any(repo.empty for repo in repos)
    assert any(repo.archived_at for repo in repos)
    assert any(repo.full_name.count("/") == 2 for repo in repos)
    assert any(len(repo.commits) > 1000 for repo in repos)
    assert len({package.slug for package in world.packages}) == 2000


def test_history(world: World, pick: Pick) -> None:
    """Commits come the newest first, each names the one before it, and the last has none."""
    repo = repo_of(world, pick("github"))
    commits = list(repo.commits)
    assert len(commits) > 5
    assert all(newer.parent == older.sha and newer.date >= older.date for newer, older in pairwise(commits))
    assert commits[-1].parent == ""
    assert list(repo.commits[2:5]) == commits[2:5]
    assert list(repo.history(commits[7].sha) or ()) == commits[7:]
    assert repo.history("0" * 40) is None


def test_since(world: World, pick: Pick) -> None:
    """The commits since a date are those that are not older."""
    commits = repo_of(world, pick("github")).commits
    date = commits[5].date
    assert [*commits.since(date)] == [commit for commit in commits if commit.date >= date]


def test_contributors(world: World, pick: Pick) -> None:
    """Contributors have made all commits; the most busy come first."""
    repo = repo_of(world, pick("github"))
    counts = [one.commits for one in repo.contributors]
    assert sum(counts) == len(repo.commits)
    assert counts == sorted(counts, reverse=True)


def test_change(world: World, pick: Pick) -> None:
    """After a change, there is one more of everything, and the rest is unchanged."""
    package = pick("gitlab")
    repo, project = repo_of(world, package), world.project(package.pypi)
    assert project
    commits, stars, releases = list(repo.commits), repo.stars, project.releases
    world.change(package)
    assert (list(repo.commits)[1:], repo.stars, project.releases[:-1]) == (commits, stars + 1, releases)
    assert repo.commits[0].date - NOW == timedelta(seconds=1)
