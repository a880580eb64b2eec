"""Forgejo, on Codeberg and on servers that users name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses as responses_library

from core.http import ResilientSession
from package.repos import commit_history, forgejo, get_repo_for_repo_url
from package.sources.client import Client
from package.sources.errors import Gone, Unreachable, Unusable
from tests.package.repos.conftest import Case, MakeCase, weeks_of
from tests.upstreams import faults


@pytest.fixture(params=["codeberg", "forgejo"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(make_case: MakeCase, kind: str) -> Case:
    return make_case(kind)


@pytest.fixture
def long(make_case: MakeCase, kind: str) -> Case:
    return make_case(kind, least=150)


def test_untrusted(make_case: MakeCase) -> None:
    """Users' servers are called through the untrusted session."""
    case = make_case("forgejo")
    with ResilientSession(untrusted=True) as case.session:
        for part in case.repository.parts:
            with pytest.raises(Unreachable, match="BlockedAddress") as raised:
                case.fetch(part)
            assert (raised.value.again, raised.value.reason) == (False, "blocked")
    assert not len(case.upstream.requests)


def test_below_a_path(responses: responses_library.RequestsMock, session: ResilientSession) -> None:
    """A server below a path is called there, and new addresses of its repositories keep the path."""
    api = "https://example.net/git/api/v1"
    responses.get(f"{api}/repos/ada/thing", json={"full_name": "bo/thing", "stars_count": 7})
    repository = get_repo_for_repo_url("https://example.net/git/ada/thing", "forgejo")
    reading = repository.parts["metadata"](repository, Client(session, repository.server))
    assert reading.package["repo_watchers"] == 7
    assert reading.moved_to == "https://example.net/git/bo/thing"
    assert get_repo_for_repo_url(reading.moved_to, "forgejo").server == repository.server


@pytest.mark.parametrize(
    "answer", [{"status": 404}, {"body": "<h1>Welcome</h1>"}, {"json": {}}, {"json": [1]}, {"status": 403}]
)
def test_a_404_of_another_server_does_not_mark_a_repository_as_gone(
    responses: responses_library.RequestsMock, session: ResilientSession, answer: dict[str, Any]
) -> None:
    """A 404 means that a repository is gone only if the server is Forgejo or Gitea."""
    responses.get("https://example.net/git/api/v1/repos/ada/thing", status=404)
    version = responses.get("https://example.net/git/api/v1/version", **answer)
    repository = get_repo_for_repo_url("https://example.net/git/ada/thing", "forgejo")
    client = Client(session, repository.server)
    with pytest.raises(Unusable, match=r"no Forgejo or Gitea answers at https://example\.net/git"):
        repository.parts["metadata"](repository, client)
    responses.remove(version)
    responses.get("https://example.net/git/api/v1/version", json={"version": "1.22.0"})
    with pytest.raises(Gone):
        repository.parts["metadata"](repository, client)
    assert client.status == 404


def test_archived(case: Case) -> None:
    """The date of archiving is stored; 1970 means that the repository is not archived."""
    values = case.fetch("metadata").values
    assert "date_repo_archived" in values
    assert values["date_repo_archived"] is None
    case.fake.archived_at = datetime(2025, 3, 2, 1, tzinfo=UTC)
    assert case.fetch("metadata").values["date_repo_archived"] == case.fake.archived_at


@pytest.mark.parametrize(
    ("archived_at", "reason"), [("1970-01-01T00:00:00Z", ""), (None, ""), (7, ""), ("", "no valid date")]
)
def test_archived_some_day(case: Case, archived_at: object, reason: str) -> None:
    """Without a date of archiving, the date of the last change is stored."""
    data = {"archived": True, "archived_at": archived_at, "updated_at": "" if reason else "2020-01-01T00:00:00+01:00"}
    case.upstream.fault = faults.JSON(data)
    fetched = case.fetch("metadata")
    assert reason in fetched.reasons.get("date_repo_archived", "")
    assert fetched.values == ({} if reason else {"date_repo_archived": datetime(2019, 12, 31, 23, tzinfo=UTC)})


def test_no_new_commit(long: Case) -> None:
    """While the newest commit is the same, only one page is read; the weeks still move."""
    first = long.fetch("history")
    long.upstream.requests.clear()
    assert long.fetch("history", first.client).values == first.values
    assert len(long.upstream.requests) == 1


def test_weeks_pass(long: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without new commits, the weeks still move."""
    first = long.fetch("history")
    later = commit_history.today() + timedelta(weeks=1)
    monkeypatch.setattr(commit_history, "today", lambda: later)
    weeks = long.fetch("history", first.client).values["commits_over_52w"]
    assert weeks == [*first.values["commits_over_52w"][1:], 0]


def test_only_the_newest(long: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Participants are read only from the newest commits."""
    monkeypatch.setattr(forgejo, "_NEWEST", 100)
    long.fake.born -= 86400 * 1000
    fetched = long.fetch("history")
    assert len(long.upstream.requests) == 2
    assert fetched.client.memory["history"]["count"] == 100
    assert fetched.values["commits_over_52w"] == weeks_of(long.fake)


def test_without_a_count(case: Case) -> None:
    """A server that does not count the commits leaves the count as it is."""

    class Uncounted(faults.Fault):
        async def play(self, turn: faults.Turn) -> faults.Answer:
            response = await turn.respond()
            del response.headers["X-Total-Count"]
            return response

    case.upstream.fault = Uncounted(on="/commits")
    fetched = case.fetch("commits")
    assert set(fetched.values) == {"last_commit_date"}
    assert "number of commits" in fetched.reasons["commit_count"]


def test_names(case: Case) -> None:
    """Names from commits are cleaned, shortened and separated by commas."""
    names = ["Doe, Jane", "a\nb\x00", "x" * 1000, "", None, 7, "  ", "Doe  Jane", "\u202eevil"]
    page = [
        {"sha": f"{number:040}", "author": None, "commit": {"author": {"name": name}, "committer": {"date": date}}}
        for number, (name, date) in enumerate((name, "2024-01-01T00:00:00Z") for name in names)
    ]
    case.upstream.fault = faults.JSON(page, on="/commits")
    assert case.fetch("history").values["participants"] == ",".join(["Doe Jane", "x" * 100, "evil"])


def test_odd_commits(case: Case) -> None:
    """A malformed commit does not affect the others; if all are malformed, the page is refused."""
    good = {"sha": "a", "author": {"login": "ada"}, "commit": {"committer": {"date": case.world.now.isoformat()}}}
    odd = [7, None, {}, {"sha": 7}, {"sha": "x", "commit": {"committer": {"date": "0000"}}}, {"commit": []}]
    case.upstream.fault = faults.JSON([good, *odd], on="/commits")
    values = case.fetch("history").values
    assert (values["participants"], sum(values["commits_over_52w"])) == ("ada", 1)
    case.upstream.fault = faults.JSON(odd, on="/commits")
    with pytest.raises(Unusable, match="none of the commits"):
        case.fetch("history")
