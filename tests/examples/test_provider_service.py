"""examples/provider_service: a service under uvicorn, while one of its two providers breaks down and comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.examples.breakable import BreakableServer, breakable
from tests.examples.conftest import Answer, Service, Start

PATH = "/packages/django-filter?repository=carltongibson/django-filter"
REPOSITORY = {"stargazers_count": 4500, "open_issues_count": 9, "pushed_at": "2026-11-01T08:00:00Z", "archived": False}
RELEASE = {"latest_release_number": "25.1", "licenses": "BSD-3-Clause", "dependents_count": 1200}
LEFT_ALONE = "not called, because it is down or limits our rate"


@pytest.fixture
def github() -> Iterator[BreakableServer]:
    with breakable({"/repos/carltongibson/django-filter": REPOSITORY}) as server:
        yield server


@pytest.fixture
def libraries_io() -> Iterator[BreakableServer]:
    with breakable({"/api/pypi/django-filter": RELEASE}) as server:
        yield server


@pytest.fixture
def service(start: Start, github: BreakableServer, libraries_io: BreakableServer) -> Service:
    return start(
        "provider_service.main:app",
        ready="/metrics",
        GITHUB_API_URL=github.url,
        LIBRARIES_IO_URL=f"{libraries_io.url}/api",
        LIBRARIES_IO_KEY="not-for-logs",
        OPEN_FOR="1",
    )


def problems(answer: Answer) -> tuple[Any, Any]:
    return answer.body["github"]["problem"], answer.body["libraries_io"]["problem"]


def wait_for_problems(service: Service, github: str | None) -> Answer:
    """Ask until GitHub has this problem, and Libraries.io none: a machine that is too busy may give it one."""
    return service.wait_for(PATH, lambda answer: problems(answer) == (github, None), f"GitHub's problem is {github}")


def test_an_outage_of_one_provider(service: Service, github: BreakableServer, libraries_io: BreakableServer) -> None:
    """During an outage, the last answer of a provider is served; after it, the provider is requested again."""
    before = wait_for_problems(service, None)
    assert before.body["github"]["data"] == {
        "stars": 4500,
        "open_issues": 9,
        "pushed_at": "2026-11-01T08:00:00Z",
        "archived": False,
    }
    assert before.body["libraries_io"]["data"] == {"latest": "25.1", "licenses": "BSD-3-Clause", "dependents": 1200}

    github.status = 500
    libraries_io.answers["/api/pypi/django-filter"] = {**RELEASE, "latest_release_number": "25.2"}
    failed = wait_for_problems(service, "answered 500")
    assert failed.status == 200
    assert failed.body["github"]["data"] == before.body["github"]["data"]
    assert failed.body["github"]["fetched_at"] == before.body["github"]["fetched_at"]
    assert failed.body["libraries_io"]["data"]["latest"] == "25.2"

    refused = wait_for_problems(service, LEFT_ALONE)
    assert refused.body["github"]["data"] == before.body["github"]["data"]
    assert refused.body["github"]["retry_at"] is not None
    assert service.sample('outbound_http_breaker_state{state="open",upstream="other"}')
    for outcome, reason in (("failure", "http_5xx"), ("rejected", "breaker_open")):
        series = f'outbound_http_calls_total{{outcome="{outcome}",reason="{reason}",upstream="other"}}'
        assert service.sample(series), series
    assert service.sample('outbound_http_fallbacks_total{source="memory",upstream="github"}')

    github.hang()
    wait_for_problems(service, "did not answer")
    github.refuse()
    wait_for_problems(service, "did not answer")

    github.answers["/repos/carltongibson/django-filter"] = {**REPOSITORY, "stargazers_count": 4501}
    github.mend()
    assert wait_for_problems(service, None).body["github"]["data"]["stars"] == 4501
    assert service.sample('outbound_http_breaker_state{state="open",upstream="other"}') == 0

    said = service.program.said
    host = re.escape(github.url.removeprefix("http://"))
    for reason in ("http_5xx", "timeout", "connect"):
        assert re.search(rf"WARNING core\.http: GET http://{host} failed: {reason} \(upstream other, ", said), reason
    opens = rf"WARNING core\.http: Breaker of upstream other \({host}\) opens: nothing is sent for 1 s"
    closes = rf"INFO core\.http: Breaker of upstream other \({host}\) closes: the upstream answers again"
    assert re.search(rf"{opens}.*{closes}", said, re.DOTALL)
    assert any("not-for-logs" in path for path in libraries_io.requests)
    assert "not-for-logs" not in said
    assert "Traceback" not in said


def test_nothing_to_answer_with(service: Service, github: BreakableServer, libraries_io: BreakableServer) -> None:
    """With both down and nothing in store, the caller gets a 503 at once, with the time after which to come back."""
    github.status = libraries_io.status = 503
    sent: list[tuple[int, int]] = []

    def both_left_alone(answer: Answer) -> bool:
        sent.append((len(github.requests), len(libraries_io.requests)))
        return bool(answer.body["detail"].count(LEFT_ALONE) == 2)

    answer = service.wait_for(PATH, both_left_alone, "both breakers are open")
    assert answer.status == 503
    assert int(answer.retry_after or 0) >= 1
    assert sent[-1] == sent[-2]


def test_what_is_wrong_or_missing(service: Service, github: BreakableServer, libraries_io: BreakableServer) -> None:
    """An invalid field is None, and the others are kept; an answer that is no object is a problem."""
    github.answers["/repos/carltongibson/django-filter"] = {**REPOSITORY, "stargazers_count": ["many"]}
    libraries_io.answers["/api/pypi/django-filter"] = "maintenance"
    problem = "sent an unexpected response"
    answer = service.wait_for(PATH, lambda answer: problems(answer) == (None, problem), "GitHub answers")
    assert answer.body["github"]["data"]["stars"] is None
    assert answer.body["github"]["data"]["open_issues"] == 9

    unknown = service.wait_for("/packages/none?repository=no/one", lambda answer: answer.status == 404, "404")
    assert unknown.body == {"detail": "not found"}
    assert service.get("/packages/none?repository=no/..").status == 422
