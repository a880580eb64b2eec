"""GitHub."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from package.sources.errors import LeftAlone, NotModified
from tests.package.repos.conftest import Case, MakeCase
from tests.upstreams import faults
from tests.upstreams.faults import Answer, Fault, Turn
from tests.upstreams.github import GitHub, secondary_limit
from tests.upstreams.quota import Quota


@pytest.fixture
def case(make_case: MakeCase) -> Case:
    return make_case("github")


def says(case: Case, **data: Any) -> None:
    """Change these values in the responses."""

    class Says(Fault):
        async def play(self, turn: Turn) -> Answer:
            whole = {
                "full_name": case.fake.full_name,
                "description": "d",
                "stargazers_count": 1,
                "forks_count": 2,
                "archived": False,
                "pushed_at": "2024-01-01T00:00:00Z",
            }
            return await faults.JSON({**whole, **data}).play(turn)

    case.upstream.fault = Says()


def test_weeks(make_case: MakeCase) -> None:
    """Weeks are GitHub's: the last one ends with yesterday."""
    case = make_case("github", least=100)
    end = case.world.now.replace(hour=0, minute=0, second=0)
    weeks = case.fetch("weekly").values["commits_over_52w"]
    times = [datetime.fromtimestamp(time, UTC) for time in case.fake.commits.times]
    assert sum(weeks) == sum(end - timedelta(weeks=52) <= time < end for time in times)
    assert weeks[-1] == sum(end - timedelta(weeks=1) <= time < end for time in times)


@pytest.mark.parametrize(
    ("weeks", "reason"),
    [
        ([1] * 51, "51 weeks"),
        ([1] * 53, "53 weeks"),
        ([True] * 52, "not a whole number"),
        ([1.5] * 52, "not a whole number"),
        ([-1] * 52, "not a valid count"),
        ([2**31] * 52, "not a valid count"),
        ("many", "must be a list"),
    ],
)
def test_odd_weeks(case: Case, weeks: object, reason: str) -> None:
    """Anything but 52 counts is skipped."""
    says(case, all=weeks)
    fetched = case.fetch("weekly")
    assert not fetched.values
    assert reason in fetched.reasons["commits_over_52w"]


@pytest.mark.parametrize("fault", [faults.Status(204, body=""), faults.JSON({"all": []}), faults.JSON({"all": None})])
def test_no_weeks(case: Case, fault: Fault) -> None:
    """A response without weeks keeps the stored ones."""
    case.upstream.fault = fault
    fetched = case.fetch("weekly")
    assert not fetched.values
    assert not fetched.reasons


def test_archived(case: Case) -> None:
    """The date of archiving is that of the last push, which does not change with each new star."""
    says(case, archived=True, updated_at="2026-01-01T00:00:00Z")
    assert case.fetch("metadata").values["date_repo_archived"] == datetime(2024, 1, 1, tzinfo=UTC)
    says(case, archived=True, pushed_at=None, updated_at="2026-01-01T00:00:00Z")
    assert case.fetch("metadata").values["date_repo_archived"] == datetime(2026, 1, 1, tzinfo=UTC)
    case.upstream.fault = None
    case.fake.archived_at = case.world.now
    assert case.fetch("metadata").values["date_repo_archived"] == case.fake.updated_at


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00:00Z", "2006-12-31T00:00:00Z", "2106-02-07T06:28:15Z"])
def test_archived_before_there_was_a_github(case: Case, wrong: str) -> None:
    """A date before GitHub existed is ignored in favor of the next one, or of the stored one."""
    says(case, archived=True, pushed_at=wrong, updated_at="2026-01-01T00:00:00Z")
    assert case.fetch("metadata").values["date_repo_archived"] == datetime(2026, 1, 1, tzinfo=UTC)
    says(case, archived=True, pushed_at=wrong, updated_at=wrong)
    assert case.fetch("metadata").reasons == {"date_repo_archived": "the answer has no valid date"}


def test_archived_no_longer(case: Case) -> None:
    """When a repository is no longer archived, the stored date is removed."""
    says(case, archived=False)
    fetched = case.fetch("metadata")
    assert fetched.values["date_repo_archived"] is None
    assert "date_repo_archived" in fetched.reading.updated


@pytest.mark.parametrize("archived", [None, "no", 0])
def test_archived_or_not(case: Case, archived: object) -> None:
    """If the response does not say whether it is archived, nothing is stored."""
    says(case, archived=archived)
    assert "date_repo_archived" not in case.fetch("metadata").values


@pytest.mark.parametrize(
    ("key", "value", "field", "reason"),
    [
        ("stargazers_count", "5", "repo_watchers", "must be a whole number, is str"),
        ("stargazers_count", True, "repo_watchers", "must be a whole number, is bool"),
        ("stargazers_count", -1, "repo_watchers", "is not a valid count"),
        ("forks_count", 2**40, "repo_forks", "is not a valid count"),
        ("forks_count", 1.5, "repo_forks", "must be a whole number, is float"),
        ("description", 5, "repo_description", "must be text, is int"),
        ("description", "a\0b", "repo_description", "contains a NUL"),
        ("full_name", 5, "repo_url", "must be text, is int"),
        ("full_name", "owner", "repo_url", "is not the name of a repository"),
        ("full_name", "owner/../name", "repo_url", "is not the name of a repository"),
        ("full_name", "owner/name/x", "repo_url", "is not the name of a repository"),
    ],
)
def test_one_odd_field(case: Case, key: str, value: object, field: str, reason: str) -> None:
    """A field that cannot be used is skipped, with the reason; the others are kept."""
    says(case, **{key: value})
    fetched = case.fetch("metadata")
    assert set(fetched.reasons) == {field}
    assert reason in fetched.reasons[field]
    assert fetched.reading.moved_to == ""
    assert len(fetched.values) == (4 if field == "repo_url" else 3)


@pytest.mark.parametrize("description", [None, "", "  "])
def test_no_description(case: Case, description: object) -> None:
    """A deleted description is emptied."""
    says(case, description=description)
    fetched = case.fetch("metadata")
    assert fetched.reading.withdrawn() == {"repo_description": ""}
    assert "repo_description" in fetched.reading.updated
    assert not fetched.reasons


@pytest.mark.parametrize("broken", [{"full_name": None}, {"stargazers_count": None}, {"forks_count": "2"}], ids=repr)
def test_no_description_in_a_broken_answer(case: Case, broken: dict[str, Any]) -> None:
    """If other values are missing too, an empty description is not withdrawn."""
    says(case, description=None, **broken)
    fetched = case.fetch("metadata")
    assert fetched.reading.withdrawn() == {}
    assert fetched.reasons


def test_long_description(case: Case) -> None:
    """A long description is cut off."""
    says(case, description="x" * 100_000)
    assert len(case.fetch("metadata").values["repo_description"]) == 2000


def test_many_participants(make_case: MakeCase) -> None:
    """Participants are read from several pages, the most active first."""
    case = make_case("github", least=400)
    case.fake.people = 143
    people = [one.person.login for one in case.fake.contributors if one.person.login]
    assert len(people) > 100
    assert case.fetch("participants").values["participants"] == ",".join(people)


@pytest.mark.parametrize("number", ["", "x", "-1", "9" * 30, "٣"])
def test_odd_last_page(case: Case, number: str) -> None:
    """A last page without a sensible number does not count the commits."""

    class Link(Fault):
        async def play(self, turn: Turn) -> Answer:
            response = await turn.respond()
            response.headers["Link"] = f'<http://x/?page={number}>; rel="last"'
            return response

    case.upstream.fault = Link()
    fetched = case.fetch("commits")
    assert set(fetched.values) == {"last_commit_date"}
    assert fetched.reasons["commit_count"]


def test_secondary_limit(case: Case) -> None:
    """A 403 about a secondary limit raises LeftAlone."""
    case.upstream.fault = secondary_limit(retry_after=7)
    with pytest.raises(LeftAlone, match="limits our rate") as raised:
        case.fetch("metadata")
    assert raised.value.reason == "http_429"


def test_unchanged_is_free(case: Case, settings: Settings, make_case: MakeCase) -> None:
    """With a token, a conditional request for unchanged data does not use quota."""
    settings.GITHUB_TOKEN = "secret"
    case = make_case("github")
    case.upstream.quota = quota = Quota(60)
    first = case.fetch("metadata").client
    with pytest.raises(NotModified):
        case.fetch("metadata", first)
    assert quota.used == 1


def test_headers(case: Case) -> None:
    """Requests name the version of GitHub's API."""
    seen: dict[str, str] = {}

    class Look(Fault):
        async def play(self, turn: Turn) -> Answer:
            seen.update(turn.request.headers)
            return await turn.respond()

    assert isinstance(case.upstream, GitHub)
    case.upstream.fault = Look()
    case.fetch("metadata")
    assert seen["Accept"] == "application/vnd.github+json"
    assert seen["X-GitHub-Api-Version"] == "2022-11-28"
