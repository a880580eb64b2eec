"""examples/async_view: a Django view under uvicorn, while GitHub breaks down and comes back."""

from __future__ import annotations

import re

from tests.examples.breakable import BreakableServer, breakable
from tests.examples.conftest import TOKEN, Service, Start

PATH = "/stars/django/django"
REPOSITORY = "/repos/django/django"


def wait_for_status(service: Service, status: int) -> None:
    service.wait_for(PATH, lambda answer: answer.status == status, f"status {status}")


def test_an_outage(start: Start) -> None:
    """The view answers 502 while GitHub fails, 503 at once when it is known to be down, and 200 on its return."""
    with breakable({REPOSITORY: {"stargazers_count": 80_000}}) as github:
        variables = {"GITHUB_API_URL": github.url, "SECRET_KEY": "for tests", "METRICS_TOKENS": TOKEN, "OPEN_FOR": "1"}
        service = start("async_view.asgi:application", ready="/healthz", **variables)
        _go_through_an_outage(service, github)


def _go_through_an_outage(service: Service, github: BreakableServer) -> None:
    wait_for_status(service, 200)
    assert service.get(PATH).body == {"repository": "django/django", "stars": 80_000}

    github.status = 500
    wait_for_status(service, 502)
    refused = service.wait_for(PATH, lambda answer: answer.status == 503, "the breaker is open")
    assert int(refused.retry_after or 0) >= 1
    assert service.sample('outbound_http_breaker_state{state="open",upstream="github"}') == 1
    for outcome, reason in (("failure", "http_5xx"), ("rejected", "breaker_open")):
        assert service.sample(f'outbound_http_calls_total{{outcome="{outcome}",reason="{reason}",upstream="github"}}')

    github.hang()
    wait_for_status(service, 502)
    github.refuse()
    wait_for_status(service, 502)
    assert service.wait_for(PATH, lambda answer: answer.status == 503, "the breaker is open").retry_after

    github.answers[REPOSITORY] = {"stargazers_count": 80_001}
    github.mend()
    wait_for_status(service, 200)
    assert service.get(PATH).body["stars"] == 80_001
    assert service.sample('outbound_http_breaker_state{state="closed",upstream="github"}') == 1

    said = service.program.said
    host = re.escape(github.url.removeprefix("http://"))
    for reason in ("http_5xx", "timeout", "connect"):
        line = rf"WARNING core\.http: GET http://{host}{REPOSITORY} failed: {reason} \(upstream github, "
        assert re.search(line, said), reason
    opens = rf"WARNING core\.http: Breaker of upstream github \({host}\) opens: nothing is sent for 1 s"
    closes = rf"INFO core\.http: Breaker of upstream github \({host}\) closes: the upstream answers again"
    assert re.search(rf"{opens}.*{closes}", said, re.DOTALL)
    assert "Traceback" not in said
