"""OpenTelemetry's instrumentation of requests, with the examples of docs/tracing.md."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses as responses_library
from opentelemetry import baggage, context
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind, StatusCode

from core import http
from core.http import Policy, ResilientAdapter, ResilientSession
from core.http.wire.requests_exceptions import AttemptReadTimeout
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import HOLD, RESET, Reply, reply
from tests.core.http.spans import Spans, provided
from tests.pages import examples

OBSERVER, UNTRUSTED = examples("tracing.md")[:2]
PROPAGATED = {"traceparent", "baggage"}


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    """Run the example of the page, and return its namespace."""
    names: dict[str, Any] = {}
    provided().clear()
    exec(OBSERVER + UNTRUSTED, names)
    yield names
    RequestsInstrumentor().uninstrument()


@pytest.fixture
def spans(example: object) -> Spans:
    return Spans(provided())


@pytest.fixture
def customer() -> Iterator[None]:
    """Put private data into the baggage."""
    token = context.attach(baggage.set_baggage("customer", "jane"))
    yield
    context.detach(token)


def resilient() -> requests.Session:
    return ResilientSession()


def with_a_policy() -> requests.Session:
    return ResilientSession(Policy(retries=2))


def foreign() -> requests.Session:
    session = requests.Session()
    session.mount("http://", ResilientAdapter())
    return session


@pytest.fixture(params=[resilient, with_a_policy, foreign])
def older_session(request: pytest.FixtureRequest) -> requests.Session:
    """Return a session that is there before it is instrumented."""
    session: requests.Session = request.param()
    return session


def test_a_call_is_one_span_with_its_attempts_below(
    older_session: requests.Session, spans: Spans, serve: Serve
) -> None:
    """A call with any number of retries is one client span, without an error if it succeeded."""
    with older_session as session:
        assert session.get(serve(reply(503), reply(503), reply()).url).ok
    assert spans.call.name == "GET"
    assert spans.call.status.status_code is StatusCode.UNSET
    assert spans.attempts_of(spans.call) == [503, 503, 200]
    assert [span.status.status_code for span in spans.all] == [StatusCode.ERROR] * 2 + [StatusCode.UNSET] * 2


@pytest.mark.parametrize("get", [http.get, lambda url: resilient().get(url), lambda url: foreign().get(url)])
def test_a_session_made_later_is_traced_as_well(
    spans: Spans, get: Callable[[str], requests.Response], serve: Serve
) -> None:
    """A session made after the instrumentation and http.get are traced too."""
    assert get(serve(reply(503), reply()).url).ok
    assert spans.attempts_of(spans.call) == [503, 200]


def test_the_last_answer_is_the_status_of_the_call(spans: Spans, session: ResilientSession, serve: Serve) -> None:
    """A call that ends with a 503 is an error, with that status."""
    session.get(serve(*[reply(503)] * 4).url)
    assert spans.call.status.status_code is StatusCode.ERROR
    assert dict(spans.call.attributes or {})["http.status_code"] == 503


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [(RESET, requests.ConnectionError, "connect"), (HOLD, AttemptReadTimeout, "timeout")],
)
def test_an_error_is_the_callers_and_the_spans(
    spans: Spans, serve: Serve, answer: Reply, kind: type[Exception], reason: str
) -> None:
    """The exception is the one that the caller would get without any tracing; the span has its name."""
    with ResilientSession(Policy(attempt_timeout=0.2, retries=1)) as session, pytest.raises(kind) as raised:
        session.get(serve(answer, answer).url)
    assert type(raised.value) is kind
    (event,) = spans.call.events
    assert str(dict(event.attributes or {})["exception.type"]).endswith(kind.__name__)
    assert spans.call.status.status_code is StatusCode.ERROR
    assert spans.attempts_of(spans.call) == [reason, reason]


def test_a_client_error_is_an_answer_to_an_attempt(spans: Spans, session: ResilientSession, serve: Serve) -> None:
    """A 404 is an error of the call, as OpenTelemetry wants it, and a good attempt."""
    session.get(serve(reply(404)).url)
    assert [span.status.status_code for span in spans.all] == [StatusCode.UNSET, StatusCode.ERROR]
    assert spans.attempts_of(spans.call) == [404]


def test_redirects_belong_to_their_call(spans: Spans, session: ResilientSession, serve: Serve) -> None:
    """A redirect is no call of its own, and no client span."""
    session.get(serve(reply(302, b"", "Location: /next"), reply(503), reply()).url)
    assert spans.attempts_of(spans.call) == [302, 503, 200]


def test_spans_of_two_threads_are_separate(spans: Spans, session: ResilientSession, serve: Serve) -> None:
    """The span of an attempt is below that of its own call, also if several threads make calls."""
    both = threading.Barrier(2, timeout=30)
    servers = [serve(reply(503), reply(status), on_request=both.wait) for status in (200, 404)]
    threads = [threading.Thread(target=session.get, args=(server.url,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    calls = [span for span in spans.all if span.kind is SpanKind.CLIENT]
    assert sorted(spans.attempts_of(call) for call in calls) == [[503, 200], [503, 404]]


def test_no_secret_of_the_address_is_traced(spans: Spans, session: ResilientSession, serve: Serve) -> None:
    """The example keeps query and userinfo out of every span."""
    server = serve(reply(302, b"", "Location: /next?key=s3cret"), RESET, reply(503), reply())
    session.get(f"{server.url.replace('http://', 'http://user:passw0rd@')}/path?key=s3cret")
    assert dict(spans.call.attributes or {})["http.url"] == f"{server.url}/path"
    everything = " ".join(span.to_json() for span in spans.all)
    assert not [secret for secret in ("s3cret", "passw0rd", "user:") if secret in everything]


def test_the_upstream_learns_the_span_of_the_call(spans: Spans, session: ResilientSession, serve: Serve) -> None:
    """Each attempt and each redirect carries the same traceparent, that of the call."""
    server = serve(reply(302, b"", "Location: /next"), reply(503), reply())
    session.get(server.url)
    span_id = f"{spans.call.context.span_id:016x}".encode()
    assert [span_id in request for request in server.requests] == [True] * 3


def carried(calls: responses_library.CallList) -> list[set[str]]:
    return [PROPAGATED & {name.lower() for name in call.request.headers} for call in calls]


@pytest.mark.usefixtures("example", "customer")
def test_a_user_chosen_server_learns_of_the_trace_and_its_redirects_do_not(
    responses: responses_library.RequestsMock,
) -> None:
    """An untrusted session takes traceparent and baggage along to no other origin; the first one gets them."""
    responses.get("https://users.example/", status=302, headers={"Location": "https://elsewhere.example/"})
    responses.get("https://elsewhere.example/")
    ResilientSession(untrusted=True).get("https://users.example/")
    assert carried(responses.calls) == [PROPAGATED, set()]


@pytest.mark.usefixtures("customer")
def test_untrusted_sessions_send_no_tracing_headers(
    responses: responses_library.RequestsMock, example: dict[str, Any], spans: Spans
) -> None:
    """With the example for untrusted sessions, no tracing header is sent, and attempts still have spans."""
    responses.get("https://users.example/", status=503)
    responses.get("https://users.example/")
    example["fetch_for_user"](ResilientSession(untrusted=True), "https://users.example/")
    assert carried(responses.calls) == [set(), set()]
    (preview,) = [span for span in spans.all if span.name == "preview"]
    assert spans.attempts_of(preview) == [503, 200]


def test_its_duration_is_that_of_calls(session: ResilientSession, serve: Serve) -> None:
    """The instrumentation measures a call once, with all its attempts and redirects: docs/metrics-elsewhere.md."""
    reader = InMemoryMetricReader()
    RequestsInstrumentor().instrument(meter_provider=MeterProvider([reader]))
    try:
        session.get(serve(reply(302, b"", "Location: /next"), reply(503), reply()).url)
    finally:
        RequestsInstrumentor().uninstrument()
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("http.client.duration", "ms")
    assert [point.count for point in metric.data.data_points] == [1]


def test_a_hook_that_raises_does_not_affect_the_next_call(session: ResilientSession, serve: Serve) -> None:
    """The error of a hook is raised, and the next call has its spans as usual."""

    def broken(*_: object) -> None:
        raise RuntimeError("of the hook")

    server = serve(reply(), reply())
    RequestsInstrumentor().instrument(response_hook=broken)
    try:
        with pytest.raises(RuntimeError, match="of the hook"):
            session.get(server.url)
    finally:
        RequestsInstrumentor().uninstrument()
    assert session.get(server.url).ok
