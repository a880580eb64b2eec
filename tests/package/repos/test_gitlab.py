"""GitLab."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import Settings

from package.repos import commit_history, get_repo_for_repo_url, gitlab
from package.sources.errors import NotModified, Unusable
from tests.package.repos.conftest import Case, MakeCase, weeks_of
from tests.upstreams import faults
from tests.upstreams.server import Upstreams


@pytest.fixture
def case(make_case: MakeCase) -> Case:
    return make_case("gitlab")


@pytest.fixture
def busy(make_case: MakeCase) -> Case:
    """Return a project with more than a page of commits in a year."""
    case = make_case("gitlab", least=300)
    case.fake.born, case.fake.pace = int(case.world.now.timestamp()) - case.fake.size * 86_000, 86_000
    return case


def test_archived(make_case: MakeCase, settings: Settings) -> None:
    """`archived` is in responses to requests with a token only; without it, nothing is stored."""
    case = make_case("gitlab")
    case.fake.archived_at = case.world.now
    assert "date_repo_archived" not in case.fetch("metadata").values
    settings.GITLAB_TOKEN = "secret"
    case.repository = get_repo_for_repo_url(case.repository.url)
    assert case.fetch("metadata").values["date_repo_archived"] == case.fake.updated_at
    case.fake.archived_at = None
    values = case.fetch("metadata").values
    assert "date_repo_archived" in values
    assert values["date_repo_archived"] is None


def test_a_server_of_ones_own(case: Case, upstreams: Upstreams, settings: Settings) -> None:
    """Servers in the settings are called with their own tokens."""
    url = upstreams.gitlab.url
    settings.GITLAB_URL, settings.GITLAB_SERVERS = "https://gitlab.test", [url]
    settings.GITLAB_SERVER_TOKENS = {url.removeprefix("http://"): "own"}
    case.repository = get_repo_for_repo_url(f"{url}/{case.fake.full_name}/-/tree/main")
    assert case.fetch("metadata").values["repo_watchers"] == case.fake.stars
    assert {entry.authorization for entry in upstreams.gitlab.requests} == {"Bearer own"}


def test_long_names(case: Case) -> None:
    """Groups in groups have long addresses, which fit; one that does not fit costs nothing else."""
    for names, fits in ((4, True), (20, False)):
        path = "/".join(["g" * 99] * names)
        case.upstream.fault = faults.JSON({"path_with_namespace": path, "description": "d", "star_count": 7})
        fetched = case.fetch("metadata")
        assert fetched.reading.moved_to == (f"{case.repository.web}/{path}" if fits else "")
        assert ("repo_url" in fetched.reasons) == (not fits)
        assert fetched.values["repo_watchers"] == 7


def test_old_servers_do_not_count(case: Case) -> None:
    """On old servers, which do not count commits, the stored count stays."""
    case.upstream.fault = faults.Status(404, on="/sequence")
    assert set(case.fetch("commits").values) == {"last_commit_date"}


def test_weeks_of_a_busy_project(busy: Case) -> None:
    """Commits are read back to the first of the 52 weeks, and no further."""
    assert busy.fetch("weekly").values["commits_over_52w"] == weeks_of(busy.fake)
    pages = sum(weeks_of(busy.fake)) // 100 + 1
    assert len(busy.upstream.requests) == pages
    assert pages > 1


def test_weeks_pass(busy: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without new commits, the weeks still move, at the cost of one 304."""
    first = busy.fetch("weekly")
    before = first.values["commits_over_52w"]
    later = commit_history.today() + timedelta(weeks=2)
    monkeypatch.setattr(commit_history, "today", lambda: later)
    busy.upstream.requests.clear()
    second = busy.fetch("weekly", first.client)
    assert second.values["commits_over_52w"] == [*before[2:], 0, 0]
    assert [entry.status for entry in busy.upstream.requests] == [304]
    with pytest.raises(NotModified):
        busy.fetch("weekly", second.client)


def test_memory_of_another_project(case: Case, make_case: MakeCase) -> None:
    """The memory of another project is ignored."""
    other = make_case("gitlab")
    first = case.fetch("weekly").client
    first.memory = other.fetch("weekly").client.memory
    assert case.fetch("weekly", first).values["commits_over_52w"] == weeks_of(case.fake)


def test_too_busy(busy: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are too many commits to read, the part fails, and the stored weeks stay."""
    monkeypatch.setattr(gitlab, "_WEEKLY_PAGES", 1)
    with pytest.raises(Unusable, match="last year has more commits"):
        busy.fetch("weekly")


def test_weeks_without_end(busy: Case) -> None:
    """A list of commits that starts over is detected."""
    busy.fake.born, busy.fake.pace = busy.fake.born + busy.fake.size * 80_000, 6_000
    busy.upstream.page_endlessly(busy.fake.full_name)
    with pytest.raises(Unusable, match="no end"):
        busy.fetch("weekly")
