"""Bitbucket: above all, counting commits from the list of commits."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses as responses_library

from package.repos import bitbucket, get_repo_for_repo_url
from package.sources.api_server import Server
from package.sources.client import READING, Client
from package.sources.errors import Unreachable, Unusable
from tests.package.repos.conftest import Case, Fetched, MakeCase, weeks_of
from tests.upstreams import faults


@pytest.fixture
def case(make_case: MakeCase) -> Case:
    return make_case("bitbucket")


@pytest.fixture
def long(make_case: MakeCase, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Return a repository with more commits than one run reads."""
    monkeypatch.setattr(bitbucket, "_PAGES", 2)
    return make_case("bitbucket", least=350)


def fetch_to_the_end(case: Case) -> Fetched:
    fetched = case.fetch("history")
    while fetched.client.memory["next"]:
        fetched = case.fetch("history", fetched.client)
    return fetched


def test_a_long_history_takes_several_runs(long: Case) -> None:
    """Each run continues where the last one stopped; there is no count until all commits are read."""
    fetched, runs = long.fetch("history"), 1
    assert set(fetched.values) == {"last_commit_date"}
    while fetched.client.memory["next"]:
        long.upstream.requests.clear()
        fetched, runs = long.fetch("history", fetched.client), runs + 1
        assert len(long.upstream.requests) <= 3
    assert runs == -(-len(long.fake.commits) // 200)
    assert fetched.values["commit_count"] == len(long.fake.commits)
    assert fetched.values["commits_over_52w"] == weeks_of(long.fake)


def test_commits_meanwhile(long: Case) -> None:
    """Commits pushed while the history is read are counted once, afterwards."""
    fetched = long.fetch("history")
    while fetched.client.memory["next"]:
        long.world.change(long.package)
        fetched = long.fetch("history", fetched.client)
    assert fetched.values["commit_count"] < len(long.fake.commits)
    fetched = long.fetch("history", fetched.client)
    assert fetched.values["commit_count"] == len(long.fake.commits)
    assert fetched.values["last_commit_date"] == long.fake.commits[0].date
    assert fetched.values["commits_over_52w"] == weeks_of(long.fake)


def test_later_fetches_read_only_new_commits(long: Case) -> None:
    """The history is read once; after that, each fetch takes two or three requests."""
    fetched = fetch_to_the_end(long)
    long.upstream.requests.clear()
    again = long.fetch("history", fetched.client)
    assert again.values == fetched.values
    [_, news] = long.upstream.requests.paths
    assert parse_qs(urlsplit(news).query)["exclude"] == [long.fake.commits[0].sha]
    long.world.change(long.package)
    long.upstream.requests.clear()
    assert long.fetch("history", again.client).values["commit_count"] == len(long.fake.commits)
    assert len(long.upstream.requests) == 3


def test_much_that_is_new(long: Case) -> None:
    """If there are more new commits than one run reads, counting starts over."""
    fetched = fetch_to_the_end(long)
    for _ in range(250):
        long.world.change(long.package)
    fetched = long.fetch("history", fetched.client)
    assert "commit_count" not in fetched.values
    while fetched.client.memory["next"]:
        fetched = long.fetch("history", fetched.client)
    assert fetched.values["commit_count"] == len(long.fake.commits)


def test_a_head_that_has_vanished(case: Case) -> None:
    """After a push that rewrote the history, counting starts over."""
    first = case.fetch("history").client
    first.memory["history"] |= {"head": "f" * 40, "count": 7000}
    assert case.fetch("history", first).values["commit_count"] == len(case.fake.commits)
    case.upstream.fault = faults.Sequence([None, faults.Status(400), None])  # branch, news, from the beginning
    assert case.fetch("history", first).values["commit_count"] == len(case.fake.commits)


def test_a_head_that_is_left_behind(responses: responses_library.RequestsMock, case: Case) -> None:
    """If the last head is known but no longer part of the history, counting starts over."""
    case.repository = get_repo_for_repo_url("https://bitbucket.org/o/n")
    case.repository.server = Server("Bitbucket", "https://bitbucket.test")
    repository = "https://bitbucket.test/repositories/o/n"
    histories = {"main": ["new2", "new1", "c2", "c1"], "old": ["old", "c2", "c1"], "new2": ["new2", "new1", "c2", "c1"]}

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        query = parse_qs(urlsplit(request.url).query)
        excluded = histories[query["exclude"][0]] if "exclude" in query else []
        found = [name for name in histories[query["include"][0]] if name not in excluded]
        values = [{"hash": name, "date": "2024-01-01T00:00:00Z"} for name in found]
        return 200, {}, json.dumps({"values": values})

    responses.get(repository, json={"mainbranch": {"name": "main"}})
    responses.add_callback("GET", f"{repository}/commits", callback=answer)
    kept = {"head": "old", "latest": "", "count": 3, "days": {}, "people": []}
    before = case.client()
    before.memory = {"reading": READING, "of": "https://bitbucket.org/o/n", "next": "", "history": kept}
    fetched = case.fetch("history", before)
    assert fetched.values["commit_count"] == 4
    assert fetched.client.memory["history"]["head"] == "new2"


def test_a_failure_while_the_history_is_read(long: Case) -> None:
    """Pages that were read before a failure are not read again."""
    client = long.client()
    long.upstream.fault = faults.Sequence([None] * 3 + [faults.Status(501)] * 50)  # branch, first page, again, …
    with pytest.raises(Unreachable):
        long.repository.parts["history"](long.repository, client)
    long.upstream.fault = None
    assert client.memory["history"]["count"] == 100
    fetched = long.fetch("history", client)
    assert fetched.client.memory["history"]["count"] == 300


def test_a_way_that_ends_nowhere(long: Case) -> None:
    """If the next page is missing or on another server, counting starts over the next time."""
    for follow in ("repositories/no/thing/commits", "https://evil.test/"):
        client = long.fetch("history").client
        client.memory["next"] = follow
        with pytest.raises(Unusable):
            long.repository.parts["history"](long.repository, client)
        assert client.memory == {}
    assert fetch_to_the_end(long).values["commit_count"] == len(long.fake.commits)


def test_pages_without_end(long: Case) -> None:
    """A list of commits that starts over is detected, in any run."""
    long.upstream.page_endlessly(long.fake.full_name)
    client: Client | None = None
    with pytest.raises(Unusable, match="no end"):  # noqa: PT012 - in one of the runs
        for _ in range(20):
            client = long.fetch("history", client).client


def test_memory_of_another_repository(case: Case, make_case: MakeCase) -> None:
    """The memory of another repository is ignored."""
    first = make_case("bitbucket", least=50).fetch("history").client
    assert case.fetch("history", first).values["commit_count"] == len(case.fake.commits)


NAMELESS = {"date": "2024-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "page",
    [
        {"values": [], "next": 7},
        {"values": [{**NAMELESS, "hash": "a"}], "next": f"https://api.bitbucket.test/2.0/{'x' * 2000}"},
        {"values": 7},
        {"values": [7]},
        {"size": 5},
        {"values": [NAMELESS, {**NAMELESS, "hash": "a"}]},
        {"values": [{**NAMELESS, "hash": f"{number}"} for number in range(101)]},
    ],
)
def test_odd_pages(case: Case, page: dict[str, Any]) -> None:
    """A malformed page of commits is a failure."""
    case.upstream.fault = faults.FirstOf(faults.JSON(page, on="/commits"))
    with pytest.raises(Unusable):
        case.fetch("history")


def test_too_long(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history with too many commits is refused."""
    monkeypatch.setattr(bitbucket, "_MOST", 1)
    with pytest.raises(Unusable, match="more than 1 commits"):
        case.fetch("history")


def test_authors(case: Case) -> None:
    """Authors with an account have their Bitbucket name, others the name in the commit."""
    authors = [
        {"raw": "Ada <ada@example.org>", "user": {"nickname": "ada"}},
        {"raw": "Bo <bo@example.org>", "user": {"display_name": "Bo B."}},
        {"raw": "Cem C. <cem@example.org>"},
        {"raw": "dana"},
        {"raw": "<eva@example.org>"},
        {},
    ]
    values = [{**NAMELESS, "hash": f"{number}", "author": author} for number, author in enumerate(authors)]
    case.upstream.fault = faults.JSON({"values": values}, on="/commits")
    assert case.fetch("history").values["participants"] == "ada,Bo B.,Cem C.,dana"


def test_empty_is_not_forgotten(case: Case) -> None:
    """A repository that has its first commits is counted from the beginning."""
    size, case.fake.size = case.fake.size, 0
    first = case.fetch("history")
    assert first.values["commit_count"] == 0
    case.fake.size = size
    assert case.fetch("history", first.client).values["commit_count"] == size
