"""Behavior that all hosts share."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from pytest_django import Settings

from package.repos import get_repo_for_repo_url
from package.sources.errors import AskError, Gone, LeftAlone, NotModified, NotReady, Unreachable, Unusable
from tests.package.repos.conftest import KINDS, Case, MakeCase, weeks_of
from tests.upstreams import faults
from tests.upstreams.quota import Quota
from tests.upstreams.server import Upstreams

COUNTS = {"repo_watchers", "repo_forks"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(make_case: MakeCase, kind: str) -> Case:
    return make_case(kind)


def parts_of(case: Case) -> list[str]:
    return list(case.repository.parts)


def other_name(case: Case) -> str:
    return f"moved-{case.fake.id}/{case.fake.name}"


def failure(case: Case, part: str) -> AskError:
    with pytest.raises(AskError) as raised:
        case.fetch(part)
    return raised.value


def test_everything(case: Case) -> None:
    """All fields have the host's values."""
    values, fake = case.fetch_all(), case.fake
    commits = fake.commits
    known = {
        "repo_description": fake.description,
        "repo_watchers": fake.stars,
        "repo_forks": fake.forks,
        "commit_count": len(commits),
        "last_commit_date": commits[0].date,
    }
    assert {name: values[name] for name in known} == known
    people = [one.person for one in fake.contributors]
    with_login = [person.login for person in people if person.login]
    everyone = {
        "github": with_login,
        "gitlab": [person.name for person in people],
    }.get(fake.kind, [person.login or person.name for person in people])
    assert values["participants"].split(",") == everyone
    if fake.kind != "github":  # it counts from today's first second, see there
        assert values["commits_over_52w"] == weeks_of(fake)
    assert len(values["commits_over_52w"]) == 52
    assert values.get("date_repo_archived") is None


def test_each_part_fills_its_fields(case: Case) -> None:
    """Each part fills fields of its own."""
    fields = [set(case.fetch(part).values) for part in case.repository.parts]
    assert sum(map(len, fields)) == len(set().union(*fields))
    assert fields[0] >= {"repo_description"}


def test_a_description_that_was_deleted(case: Case) -> None:
    """A deleted description is emptied; one that is missing from the response is kept."""
    case.fake.description = ""
    assert case.fetch("metadata").reading.withdrawn() == {"repo_description": ""}

    class Without(faults.Fault):
        async def play(self, turn: faults.Turn) -> faults.Answer:
            response = await turn.respond()
            data = json.loads(response.text or "")
            del data["description"]
            response.text = json.dumps(data)
            return response

    case.upstream.fault = Without()
    fetched = case.fetch("metadata")
    assert fetched.reading.withdrawn() == {}
    assert fetched.reasons == {"repo_description": "missing"}


def test_nothing_new(case: Case) -> None:
    """Validators are sent, and a 304 means that nothing has changed."""
    case.upstream.validators = True
    try:
        first = {part: case.fetch(part) for part in case.repository.parts}
        case.upstream.requests.clear()
        for part, before in first.items():
            if case.fake.kind == "bitbucket" and part == "history":  # it has a memory instead
                assert case.fetch(part, before.client).values == before.values
                continue
            with pytest.raises(NotModified):
                case.fetch(part, before.client)
        statuses = [entry.status for entry in case.upstream.requests if "exclude" not in entry.path]
        assert set(statuses) <= {304, 200}
        assert statuses.count(304) == len(first) - (case.fake.kind == "bitbucket")
        assert statuses.count(200) == (case.fake.kind == "bitbucket")
    finally:
        case.upstream.validators = case.upstream.sends_validators


def test_changed_data_is_read_again(case: Case) -> None:
    """Data that has changed is read again."""
    first = {part: case.fetch(part).client for part in case.repository.parts}
    case.world.change(case.package)
    values: dict[str, Any] = {}
    for part, before in first.items():
        with suppress(NotModified):  # GitHub's weeks end with yesterday
            values |= case.fetch(part, before).values
    assert values["repo_watchers"] == case.fake.stars
    assert values["commit_count"] == len(case.fake.commits)
    assert values["last_commit_date"] == case.fake.commits[0].date


class WrongClock(faults.Fault):
    """One commit of each page has this date: the first one or the last one, as `position` says."""

    def __init__(self, date: str, position: int) -> None:
        super().__init__(on="/commits")
        self.date = date
        self.position = position

    async def play(self, turn: faults.Turn) -> faults.Answer:
        response = await turn.respond()
        data = json.loads(response.text or "null")
        commits = data.get("values") if isinstance(data, dict) else data
        if not commits:  # GitLab's count
            return response
        for dates in (commits[self.position], commits[self.position].get("commit", {}).get("committer", {})):
            dates.update({key: self.date for key in ("date", "committed_date") if key in dates})
        response.text = json.dumps(data)
        return response


@pytest.mark.parametrize("kind", ["gitlab", "bitbucket", "codeberg"])
@pytest.mark.parametrize("date", ["1970-01-01T00:00:01Z", "0001-01-01T00:00:00Z", "2106-02-07T06:28:15Z", "two years"])
def test_commits_with_a_wrong_date(make_case: MakeCase, kind: str, date: str) -> None:
    """Commits with a wrong date are counted, but in no week, and do not end the reading."""
    case = make_case(kind, least=300)
    case.fake.born, case.fake.pace = int(case.world.now.timestamp()) - case.fake.size * 86_000, 86_000
    expected = sum(weeks_of(case.fake))
    wrong = (datetime.now(UTC) - timedelta(weeks=104)).isoformat() if date == "two years" else date
    case.upstream.fault = WrongClock(wrong, -1)
    values = case.fetch("weekly" if kind == "gitlab" else "history").values
    pages = -(-expected // 50)
    assert expected - pages <= sum(values["commits_over_52w"]) < expected


@pytest.mark.parametrize("date", ["1970-01-01T00:00:01Z", "1989-12-31T00:00:00Z", "2106-02-07T06:28:15Z"])
def test_a_newest_commit_with_a_wrong_date(case: Case, kind: str, date: str) -> None:
    """A wrong date of the newest commit is not stored; if more commits are read, the next date is."""
    case.upstream.fault = WrongClock(date, 0)
    fetched = case.fetch("history" if kind == "bitbucket" else "commits")
    if kind == "bitbucket":
        assert fetched.values["last_commit_date"] == case.fake.commits[1].date
    else:
        assert fetched.reasons == {"last_commit_date": f"is {date[:10]}, which cannot be right"}
    assert fetched.values["commit_count"] == len(case.fake.commits)


def test_renamed(case: Case, kind: str) -> None:
    """The new address of a repository is found, and its data is read."""
    case.upstream.rename(case.package.full_name, other_name(case))
    reading = case.fetch("metadata").reading
    assert reading.moved_to == f"{case.repository.web}/{other_name(case)}"
    moved = get_repo_for_repo_url(reading.moved_to, kind)
    assert (moved.path, moved.server) == (other_name(case), case.repository.server)
    assert case.fetch_all()["commit_count"] == len(case.fake.commits)


def test_not_renamed(case: Case, kind: str, upstreams: Upstreams) -> None:
    """A different case or form of the address is not a new name."""
    url = upstreams.repo_url(case.package).replace(case.fake.full_name, case.fake.full_name.upper()) + ".git"
    case.repository = get_repo_for_repo_url(url, kind)
    assert case.fetch("metadata").reading.moved_to == ""


@pytest.mark.parametrize("status", [404, 410, 451])
def test_gone(case: Case, status: int) -> None:
    """Every part of a repository that is gone raises Gone."""
    case.upstream.remove(case.fake.full_name, status)
    assert {type(failure(case, part)) for part in parts_of(case)} == {Gone}
    assert f"HTTP {status}" in str(failure(case, "metadata"))


def test_empty(case: Case) -> None:
    """A repository without commits has a count of 0 and no participants, and does not fail."""
    case.upstream.make_empty(case.fake.full_name)
    values = case.fetch_all()
    assert values["commit_count"] == 0
    assert values["repo_watchers"] == case.fake.stars
    assert values["commits_over_52w"] == [0] * 52
    assert not {"participants", "last_commit_date"} & set(values)


def test_emptied(case: Case) -> None:
    """After all commits were removed, the count is 0."""
    first = {part: case.fetch(part).client for part in case.repository.parts}
    case.upstream.make_empty(case.fake.full_name)
    values: dict[str, Any] = {}
    for part, before in first.items():
        if part != "metadata":
            values |= case.fetch(part, before).values
    assert values["commit_count"] == 0
    assert values["commits_over_52w"] == [0] * 52


def test_mistyped(case: Case) -> None:
    """Values of a wrong type are skipped, with the reason."""
    case.upstream.fault = faults.Mistyped()
    for part in parts_of(case):
        try:
            fetched = case.fetch(part)
        except Unusable as exc:
            assert "commits" in str(exc) or "branch" in str(exc)  # noqa: PT017 - one of two ways to say so
        else:
            assert not fetched.values
            assert fetched.reasons
            assert fetched.reading.moved_to == ""


@pytest.mark.parametrize("value", [{}, [], {"message": "Not Found"}, [None], [1], ["x"], [{}], None, 7, "x"])
def test_other_json(case: Case, value: object) -> None:
    """From any JSON, only valid values are stored."""
    case.upstream.fault = faults.JSON(value)
    for part in parts_of(case):
        try:
            fetched = case.fetch(part)
        except Unusable:
            continue
        empty = {"commit_count": 0, "commits_over_52w": [0] * 52}
        assert all(fetched.values[name] == empty[name] for name in fetched.values)
        assert fetched.reasons or value == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.NotJSON(), "not JSON"),
        (faults.Status(200, body='{"a": '), "not JSON"),
        (faults.Status(401), "HTTP 401"),
        (faults.Status(403), "HTTP 403"),
    ],
)
def test_unusable(case: Case, fault: faults.Fault, reason: str) -> None:
    """An unusable response is a failure with a reason, and is not requested again."""
    case.upstream.fault = fault
    for part in parts_of(case):
        exc = failure(case, part)
        assert isinstance(exc, Unusable)
        assert reason in str(exc)
        assert not exc.again


def test_huge(case: Case) -> None:
    """A response that is too large is not read to its end, and not requested again."""
    case.upstream.fault = faults.Huge(2**26)
    exc = failure(case, "metadata")
    assert isinstance(exc, Unreachable)
    assert (exc.reason, exc.again) == ("too_large", False)


def test_quota(case: Case) -> None:
    """A used-up quota raises LeftAlone."""
    case.upstream.quota = quota = Quota(1000)
    quota.set(remaining=0, reset_in=1800)
    assert isinstance(failure(case, "metadata"), Unreachable | LeftAlone)
    sent = len(case.upstream.requests)
    assert isinstance(failure(case, parts_of(case)[1]), LeftAlone)
    assert len(case.upstream.requests) == sent


def test_pages_without_end(case: Case) -> None:
    """The number of pages is limited, for any answers of the server."""
    case.upstream.page_endlessly(case.fake.full_name)
    for part in parts_of(case):
        case.upstream.requests.clear()
        try:
            case.fetch(part)
        except Unusable as exc:
            assert "no end" in str(exc)  # noqa: PT017 - one of two ways to end
        assert len(case.upstream.requests) <= 62


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/", "https://evil.test/x", "http://[::1", "ftp://x/", "http://:0"]
)
def test_pages_elsewhere(make_case: MakeCase, kind: str, address: str, session: requests.Session) -> None:
    """A next page on another server is never requested; parts without pages are not affected."""
    case = make_case(kind)
    case.upstream.page_elsewhere(case.fake.full_name, address)
    refused = {}
    for part in parts_of(case):
        try:
            case.fetch(part)
        except Unusable as exc:
            refused[part] = str(exc)
    followed = {"github": {"participants"}, "gitlab": {"participants"}}.get(kind, {"history"})
    last = case.fake.commits[: min(100, len(case.fake.commits))][-10:]
    if kind == "gitlab" and max(commit.date for commit in last) > a_year_ago():
        followed |= {"weekly"}
    assert set(refused) == followed
    assert all(re.search("named an address|named a next page", why) for why in refused.values())


class InnerName(faults.Fault):
    """Responses contain the internal addresses of a server behind a proxy."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    async def play(self, turn: faults.Turn) -> faults.Answer:
        response = await turn.respond()
        if "Link" in response.headers:
            response.headers["Link"] = response.headers["Link"].replace(self.url, "http://inner.invalid:8181")
        if response.text and self.url in response.text:
            response.text = response.text.replace(self.url, "http://inner.invalid:8181")
        return response


def test_pages_of_a_server_that_does_not_know_its_name(make_case: MakeCase, kind: str) -> None:
    """Next pages with an internal scheme, name and port are requested from the first page's origin."""
    case = make_case(kind, least=150)
    expected = case.fetch_all()
    case.upstream.fault = InnerName(case.upstream.url)
    assert case.fetch_all() == expected


def a_year_ago() -> datetime:
    return datetime.now(UTC) - timedelta(weeks=52)


def test_token(make_case: MakeCase, settings: Settings, upstreams: Upstreams) -> None:
    """A token is sent with every request to its own server, and to no other."""
    for name in ("GITHUB", "GITLAB", "BITBUCKET", "CODEBERG"):
        setattr(settings, f"{name}_TOKEN", f"for-{name.lower()}")
    for kind in KINDS:
        case = make_case(kind)
        case.fetch_all()
        given = {entry.authorization for entry in case.upstream.requests}
        assert given == ({""} if kind == "forgejo" else {f"Bearer for-{kind}"})


def test_token_after_a_redirect(make_case: MakeCase, settings: Settings, upstreams: Upstreams) -> None:
    """A redirect to another server does not take the token along."""
    settings.GITHUB_TOKEN = "secret"
    case = make_case("github")

    class Elsewhere(faults.Fault):
        async def play(self, turn: faults.Turn) -> faults.Answer:
            response = await turn.respond()
            response.headers["Location"] = f"{upstreams.gitlab.url}/api/v4/projects/1"
            response.set_status(302)
            return response

    upstreams.github.fault = Elsewhere()
    assert isinstance(failure(case, "metadata"), Gone)
    assert [entry.authorization for entry in upstreams.github.requests] == ["Bearer secret"]
    assert [entry.authorization for entry in upstreams.gitlab.requests] == [""]


def test_one_part_fails(make_case: MakeCase) -> None:
    """If one resource fails, the other parts are still fetched."""
    case = make_case("github")
    case.upstream.fault = faults.Status(500, on="/contributors")
    assert isinstance(failure(case, "participants"), Unreachable)
    fetched = [case.fetch(part).values for part in ("metadata", "commits", "weekly")]
    assert all(fetched)


def test_not_ready(make_case: MakeCase) -> None:
    """GitHub's statistics are not waited for."""
    case = make_case("github")
    case.upstream.pending = 1  # type: ignore[attr-defined]
    exc = failure(case, "weekly")
    assert isinstance(exc, NotReady)
    assert exc.again
    assert len(case.upstream.requests) == 1
    assert case.fetch("weekly").values["commits_over_52w"]
