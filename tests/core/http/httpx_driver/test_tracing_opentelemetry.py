"""OpenTelemetry's instrumentation of httpx and httpx2, with the examples of docs/tracing.md."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anyio
import pytest
from opentelemetry.instrumentation import httpx as instrumentation
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind, StatusCode

from core import http
from core.http import CircuitBreaker, Policy
from core.http.wire import address_guard
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import HOLD, RESET, Reply, reply
from tests.core.http.spans import Spans, provided
from tests.pages import examples

OBSERVER, UNTRUSTED, HTTPX = examples("tracing.md")[:3]
SECRETS = ("s3cret", "passw0rd", "user:")


def instrumentor_of(name: str) -> Any:
    """Return the instrumentor of httpx or of httpx2: the lowest version has only the first."""
    return getattr(instrumentation, f"{name.upper()}ClientInstrumentor")()


@pytest.fixture
def example(name: str) -> Iterator[dict[str, Any]]:
    """Run the examples of the page, and return their namespace."""
    names: dict[str, Any] = {}
    provided().clear()
    exec(OBSERVER + UNTRUSTED + HTTPX.replace("HTTPXClient", f"{name.upper()}Client"), names)
    yield names
    instrumentor_of(name).uninstrument()
    RequestsInstrumentor().uninstrument()


@pytest.fixture
def spans(example: object) -> Spans:
    return Spans(provided())


def told(spans: Spans) -> str:
    """Return everything that is exported: names, attributes, events with their stack traces."""
    return " ".join(span.to_json() for span in spans.all)


def test_a_call_is_one_span_with_its_attempts_below(caller: Caller, spans: Spans, serve: Serve) -> None:
    """A call with any number of retries is one client span, without an error if it succeeded."""
    assert caller().get(serve(reply(503), reply(503), reply()).url).status_code == 200
    assert (spans.call.name, spans.call.status.status_code) == ("GET", StatusCode.UNSET)
    assert spans.attempts_of(spans.call) == [503, 503, 200]
    assert len(spans.all) == 4


def test_the_last_answer_is_the_status_of_the_call(caller: Caller, spans: Spans, serve: Serve) -> None:
    """A call that ends with a 503 is an error, with that status."""
    caller().get(serve(*[reply(503)] * 4).url)
    assert spans.call.status.status_code is StatusCode.ERROR
    assert dict(spans.call.attributes or {})["http.status_code"] == 503


def test_redirects_belong_to_their_call(caller: Caller, spans: Spans, serve: Serve) -> None:
    """A redirect is no client span of its own, and each request carries the traceparent of the call."""
    server = serve(reply(302, b"", "Location: /next"), reply(503), reply())
    caller().get(server.url, follow_redirects=True)
    assert spans.attempts_of(spans.call) == [302, 503, 200]
    span_id = f"{spans.call.context.span_id:016x}".encode()
    assert [span_id in request for request in server.requests] == [True] * 3


def test_a_client_made_before_is_traced_as_well(
    caller: Caller, name: str, serve: Serve, request: pytest.FixtureRequest
) -> None:
    """A client made before the instrumentation is traced too."""
    client = caller()
    spans: Spans = request.getfixturevalue("spans")
    client.get(serve(reply(503), reply()).url)
    assert spans.attempts_of(spans.call) == [503, 200]


def test_a_stream_is_a_span_until_its_headers(caller: Caller, spans: Spans, serve: Serve) -> None:
    """A call whose body the caller reads is traced like others."""
    url = serve(reply(503), reply()).url

    async def astatus(client: Any) -> int:
        async with client.stream("GET", url) as response:
            return int(response.status_code)

    def status(client: Any) -> Any:
        if not caller.is_sync:
            return astatus(client)
        with client.stream("GET", url) as response:
            return response.status_code

    assert caller.on_client(caller()._client, status) == 200
    assert spans.attempts_of(spans.call) == [503, 200]


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (RESET, "ReadError", "connect"),
        (HOLD, "AttemptReadTimeout", "timeout"),
        (Reply(b"HTTP/1.1 200 OK\r\nConte"), "RemoteProtocolError", "truncated"),
        (reply(200, b"no gzip", "Content-Encoding: gzip"), "DecodingError", "truncated"),
        (reply(200, b"x" * 2000), "ResponseTooLarge", "too_large"),
    ],
    ids=["reset", "timeout", "head", "coding", "too large"],
)
def test_the_error_of_a_span_reveals_no_secret(
    caller: Caller, spans: Spans, serve: Serve, answer: Reply, kind: str, reason: str
) -> None:
    """The span has the exception of the caller, and neither it nor its causes contain a secret."""
    url = f"{serve(answer, answer).url.replace('//', '//user:passw0rd@')}/path?key=s3cret#s3cret"
    policy = Policy(attempt_timeout=0.2 if answer is HOLD else 10, retries=1, max_response_bytes=1000)
    with pytest.raises(caller.library.HTTPError) as raised:
        caller(policy, headers={"Authorization": "Bearer s3cret", "Cookie": "id=s3cret"}).get(url)
    assert type(raised.value).__name__ == kind
    (event,) = spans.call.events
    assert str(dict(event.attributes or {})["exception.type"]).endswith(kind)
    assert spans.call.status.status_code is StatusCode.ERROR
    assert set(spans.attempts_of(spans.call)) == {reason}
    assert not [secret for secret in SECRETS if secret in told(spans)]


@pytest.mark.parametrize("target", ["http://user:passw0rd@[s3cret/", "ftp://user:passw0rd@h/?s3cret", "/?key=s3cret"])
def test_an_invalid_redirect_reveals_no_secret(caller: Caller, spans: Spans, serve: Serve, target: str) -> None:
    """The errors of httpx for an invalid Location quote it, so its secrets are masked in the span."""
    server = serve(*[reply(302, b"", f"Location: {target}")] * 30)
    with pytest.raises((caller.library.HTTPError, caller.library.InvalidURL)):
        caller().get(f"{server.url}/?key=s3cret", follow_redirects=True)
    assert not [secret for secret in SECRETS if secret in told(spans)]


def test_no_secret_of_the_address_is_traced(caller: Caller, spans: Spans, serve: Serve) -> None:
    """The example keeps query and userinfo out of every span."""
    server = serve(reply(302, b"", "Location: /next?key=s3cret"), RESET, reply(503), reply())
    url = f"{server.url.replace('http://', 'http://user:passw0rd@')}/path?key=s3cret"
    caller().get(url, follow_redirects=True)
    assert dict(spans.call.attributes or {})["http.url"] == f"{server.url}/path"
    assert not [secret for secret in SECRETS if secret in told(spans)]


def test_a_refusal_is_no_answer_of_a_server(caller: Caller, spans: Spans, closed_port: str) -> None:
    """The span of a call that the breaker refused has no status, although the error has a response."""
    client = caller(Policy(retries=0, circuit_breaker=CircuitBreaker(failures_in_a_row=1)))._client
    errors: list[Any] = []

    async def atwice(client: Any) -> None:
        for _ in range(2):
            with pytest.raises(caller.library.ConnectError) as raised:
                await client.get(f"http://{closed_port}/")
            errors.append(raised.value)

    def twice(client: Any) -> Any:
        if not caller.is_sync:
            return atwice(client)
        for _ in range(2):
            with pytest.raises(caller.library.ConnectError) as raised:
                client.get(f"http://{closed_port}/")
            errors.append(raised.value)
        return None

    caller.on_client(client, twice)
    assert isinstance(errors[1], http.CircuitOpen)
    assert errors[1].response.status_code == 503
    calls = [dict(span.attributes or {}) for span in spans.all if span.kind is SpanKind.CLIENT]
    assert ["http.status_code" in attributes for attributes in calls] == [False, False]


def test_a_transport_on_another_client(caller: Caller, spans: Spans, serve: Serve, closed_port: str) -> None:
    """With the transport on a plain client, each request of a redirect is a client span with its attempts."""
    kind, transport = caller.library.AsyncClient, caller.driver.AsyncResilientTransport
    if caller.is_sync:
        kind, transport = caller.library.Client, caller.driver.ResilientTransport
    breaker = CircuitBreaker(failures_in_a_row=1)
    client = kind(transport=transport(Policy(retries=1, circuit_breaker=breaker)), follow_redirects=True)
    server = serve(reply(302, b"", "Location: /next"), reply(200))

    async def aget(client: Any) -> Any:
        await client.get(server.url)
        with pytest.raises(caller.library.ConnectError):
            await client.get(f"http://{closed_port}/")
        with pytest.raises(http.CircuitOpen) as raised:
            await client.get(f"http://{closed_port}/")
        return raised.value

    def get(client: Any) -> Any:
        if not caller.is_sync:
            return aget(client)
        client.get(server.url)
        with pytest.raises(caller.library.ConnectError):
            client.get(f"http://{closed_port}/")
        with pytest.raises(http.CircuitOpen) as raised:
            client.get(f"http://{closed_port}/")
        return raised.value

    assert caller.on_client(client, get).response.status_code == 503
    calls = [span for span in spans.all if span.kind is SpanKind.CLIENT]
    assert [spans.attempts_of(call) for call in calls] == [[302], [200], ["connect"], []]
    assert "http.status_code" not in dict(calls[-1].attributes or {})


def test_one_client_can_be_instrumented(caller: Caller, name: str, serve: Serve) -> None:
    """`instrument_client` wraps the transport: each hop is a client span."""
    names: dict[str, Any] = {}
    exec(OBSERVER, names)
    provided().clear()
    spans = Spans(provided())
    client = caller()._client
    instrumentor_of(name).instrument_client(client)
    server = serve(reply(302, b"", "Location: /next"), reply(503), reply())
    try:
        caller.on_client(client, lambda client: client.get(server.url, follow_redirects=True))
    finally:
        RequestsInstrumentor().uninstrument()
    calls = [span for span in spans.all if span.kind is SpanKind.CLIENT]
    assert [spans.attempts_of(call) for call in calls] == [[302], [503, 200]]


def test_a_mock_still_sees_every_attempt(caller: Caller, name: str, request: pytest.FixtureRequest) -> None:
    """pytest-httpx replaces the method that the instrumentation wraps: the call has its span, the mock the attempts."""
    mock = request.getfixturevalue(f"{name}_mock")
    spans: Spans = request.getfixturevalue("spans")
    mock.add_response(status_code=503)
    mock.add_response()
    caller().get("https://example.org/")
    assert len(mock.get_requests()) == 2
    assert spans.attempts_of(spans.call) == [503, 200]


def test_spans_of_two_tasks_are_separate(run: Run, driver: ModuleType, spans: Spans, serve: Serve) -> None:
    """The span of an attempt is below that of its own call, also if several tasks make calls."""
    servers = [serve(reply(503), reply(status)) for status in (200, 404)]

    async def main() -> None:
        async with driver.AsyncResilientClient() as client, anyio.create_task_group() as tasks:
            for server in servers:
                tasks.start_soon(client.get, server.url)

    run(main)
    calls = [span for span in spans.all if span.kind is SpanKind.CLIENT]
    assert sorted(spans.attempts_of(call) for call in calls) == [[503, 200], [503, 404]]


def test_a_redirect_of_an_untrusted_client_learns_of_no_trace(
    caller: Caller, spans: Spans, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrusted client sends traceparent to the first origin only."""
    monkeypatch.setattr(address_guard, "is_public", lambda address: True)
    monkeypatch.setattr(address_guard, "PORTS", range(65_536))
    second = serve(reply())
    first = serve(reply(302, b"", f"Location: {second.url}/"))
    caller(untrusted=True).get(first.url, follow_redirects=True)
    assert [b"traceparent" in server.requests[0].lower() for server in (first, second)] == [True, False]


def test_the_instrumentation_can_be_suppressed(
    caller: Caller, example: dict[str, Any], spans: Spans, serve: Serve
) -> None:
    """With the suppressed instrumentation, no tracing header is sent, and attempts still have spans."""
    server = serve(reply(503), reply())
    example["fetch_for_user"](caller(), server.url)
    assert not any(b"traceparent" in request.lower() for request in server.requests)
    (preview,) = [span for span in spans.all if span.name == "preview"]
    assert spans.attempts_of(preview) == [503, 200]


def test_its_duration_is_that_of_calls(caller: Caller, name: str, serve: Serve) -> None:
    """The instrumentation measures a call once, with all its attempts and redirects: docs/metrics-elsewhere.md."""
    reader = InMemoryMetricReader()
    instrumentor_of(name).instrument(meter_provider=MeterProvider([reader]))
    try:
        server = serve(reply(302, b"", "Location: /next"), reply(503), reply())
        caller().get(server.url, follow_redirects=True)
    finally:
        instrumentor_of(name).uninstrument()
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("http.client.duration", "ms")
    assert [point.count for point in metric.data.data_points] == [1]
