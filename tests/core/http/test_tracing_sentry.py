"""Sentry's SDK, with the examples of docs/tracing.md; in processes of their own, as its patches cannot be undone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.core.http.conftest import Serve
from tests.core.http.misbehave import HOLD, RESET, Then, reply
from tests.pages import ROOT, examples

SESSION, REPORT, OPTIONS = examples("tracing.md")[3:]

PRELUDE = """
import gc

gc.disable()  # while modules are imported, nothing of which is garbage

import functools, json, logging, sys

import requests
import sentry_sdk
from sentry_sdk.transport import Transport

from core import http
from core.http import Policy, ResilientAdapter, ResilientSession, process, registry
from core.http.testing import FakeClock

gc.freeze()
gc.enable()
clock = FakeClock()
process.use(runtime=registry.Runtime(clock, clock.wait, lambda: 0.0))
older = ResilientSession()
url, password = json.load(sys.stdin)  # not arguments, which Sentry records


class Printed(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            print(json.dumps([item.type, item.payload.json], default=str))


sentry_sdk.init = functools.partial(
    sentry_sdk.init,
    dsn="http://key@127.0.0.1:9/1",
    transport=Printed,
    traces_sample_rate=1.0,
    auto_enabling_integrations=False,  # they take seconds, and patch other libraries
)


def get(session):
    with sentry_sdk.start_transaction(name="job", op="task"):
        try:
            return session.get(url, auth=("user", password))
        except requests.RequestException as exc:
            sentry_sdk.capture_exception(exc)
"""


class Sent:
    """The data sent to Sentry."""

    def __init__(self, lines: str) -> None:
        items: list[tuple[str, dict[str, Any]]] = [json.loads(line) for line in lines.splitlines()]
        self.text = lines
        self.events = [content for kind, content in items if kind == "event"]
        self.transactions = [content for kind, content in items if kind == "transaction"]

    def attempts(self, transaction: int = 0) -> list[int | None]:
        """Return the statuses of the attempts that have a span, all in the same one."""
        spans = [span for span in self.transactions[transaction]["spans"] if span["op"] == "http.client"]
        assert len({span["parent_span_id"] for span in spans}) == 1
        assert all(span["timestamp"] for span in spans)
        return [span["data"].get("http.response.status_code") for span in spans]


def sent_by(script: str, url: str) -> Sent:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{PRELUDE}\n{script}"],
        input=json.dumps([url, "passw0rd"]),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Sent(done.stdout)


def test_each_attempt_is_a_span_with_any_session(serve: Serve) -> None:
    """Attempts are child spans for any session, made before or after Sentry, http.get and a mounted adapter."""
    sent = sent_by(
        """
foreign = requests.Session()
foreign.mount("http://", ResilientAdapter())
sentry_sdk.init(auto_enabling_integrations=True)
for session in older, ResilientSession(), ResilientSession(Policy(retries=2)), http, foreign:
    get(session)
""",
        serve(*[reply(503), reply(302, b"", "Location: /next"), reply()] * 5).url,
    )
    assert [sent.attempts(number) for number in range(5)] == [[503, 302, 200]] * 5
    assert sent.events == []


def test_attempts_without_an_answer_are_spans_that_end(serve: Serve) -> None:
    """Deadlines and Sentry's patches get along: each span ends, and the exception is the same as without Sentry."""
    cut_off = reply(200, b"a", length=9, then=Then.HOLD)
    sent = sent_by(
        "sentry_sdk.init()\nfor _ in range(3):\n    get(ResilientSession(Policy(attempt_timeout=0.3, retries=1)))",
        serve(RESET, RESET, HOLD, HOLD, cut_off, cut_off).url,
    )
    assert [sent.attempts(number) for number in range(3)] == [[None, None], [None, None], [200, 200]]
    kinds = [event["exception"]["values"][-1]["type"] for event in sent.events]
    assert kinds == ["ConnectionError", "AttemptReadTimeout", "AttemptBodyTimeout"]


def test_a_session_of_the_example_has_a_span_for_each_call(serve: Serve) -> None:
    """The attempts of a call are below one span, that has the last status."""
    server = serve(reply(503), reply(503), reply(), *[reply(503)] * 4, *[RESET] * 4)
    sent = sent_by(f"{SESSION}\nsentry_sdk.init()\nfor _ in range(3):\n    get(TracedSession())", server.url)
    calls = [[span for span in each["spans"] if span["op"] == "http.call"] for each in sent.transactions]
    assert [[(span["description"], span["status"]) for span in each] for each in calls] == [
        [("GET", "ok")],
        [("GET", "unavailable")],
        [("GET", "internal_error")],
    ]
    assert [sent.attempts(number) for number in range(3)] == [[503, 503, 200], [503] * 4, [None] * 4]
    for (call,), transaction in zip(calls, sent.transactions, strict=True):
        below = [span for span in transaction["spans"] if span["op"] == "http.client"]
        assert {span["parent_span_id"] for span in below} == {call["span_id"]}


def test_the_log_line_of_a_failed_call_is_a_breadcrumb(serve: Serve) -> None:
    """A failed call is no event by itself; the next event has it as a breadcrumb, with its fields."""
    sent = sent_by("sentry_sdk.init()\nget(older)\nsentry_sdk.capture_message('later')", serve(*[reply(503)] * 4).url)
    (event,) = sent.events
    *attempts, call = event["breadcrumbs"]["values"]
    assert [crumb["data"]["http.response.status_code"] for crumb in attempts] == [503] * 4
    assert (call["category"], call["level"]) == ("core.http", "warning")
    assert call["message"].startswith("GET http://127.0.0.1:")
    assert call["data"].items() >= {"upstream": "other", "reason": "http_5xx", "attempts": 4, "seconds": 7.0}.items()
    assert "history" in call["data"]


def test_failed_calls_can_be_events(serve: Serve) -> None:
    """With the example, a failed call is a warning with upstream and reason; a call that recovers is none."""
    server = serve(reply(503), reply(), *[reply(503)] * 4)
    sent = sent_by(f"{SESSION}\n{REPORT}\nsentry_sdk.init()\nget(older)\nget(older)", server.url)
    (event,) = sent.events
    assert event["message"] == "Call to other failed: http_5xx"
    assert event["level"] == "warning"
    assert event["breadcrumbs"]["values"][-1]["category"] == "core.http"


def test_data_can_be_kept_from_sentry_and_from_other_servers(serve: Serve) -> None:
    """With the options of the example Sentry gets no query and no password, and only own servers its headers."""
    server = serve(*[*[RESET] * 4, reply(503), reply()] * 2)
    script = "get(older)\nget(older)"
    url = f"{server.url}/?key=s3cret"
    plain = sent_by(f"{SESSION}\nsentry_sdk.init()\n{script}", url)
    hidden = sent_by(f"{SESSION}\n{OPTIONS}\n{script}", url)
    secrets = ("s3cret", "passw0rd", "dXNlcjpwYXNzdzByZA")
    assert [secret in plain.text for secret in secrets[:2]] == [True, True]
    assert [secret in hidden.text for secret in secrets] == [False, False, False]
    for sent in plain, hidden:
        assert len(sent.events) == 1
        assert [sent.attempts(number) for number in range(2)] == [[None] * 4, [503, 200]]
    own = [b"sentry-trace:" in request.lower() and b"baggage:" in request.lower() for request in server.requests]
    assert own == [True] * 6 + [False] * 6
