"""The Prometheus metrics of calls."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from typing import Any

import pytest
import requests
import responses as responses_library
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry

from core import http
from core.http import NotSent, Policy, ResilientAdapter, ResilientSession, process, registry
from core.http.engine.call import Call
from core.http.events import OTHER, AttemptEnded, AttemptStarted, QuotaSeen, Target
from core.http.observers.prometheus import PrometheusObserver
from core.http.origin import origin_of
from core.http.outcome import Outcome, Quota, Reason, Result
from core.http.testing import FakeClock
from tests.core.http.conftest import Metrics

URL = "https://example.org/"
NAMED = {"upstreams": {"example": {"hosts": ["example.org"]}}}
FAILURES = ("connect", "dns", "tls", "timeout", "truncated", "too_large", "blocked", "http_5xx", "http_429", "other")
OUTCOMES_OF_ATTEMPTS = ("success", "client_error", "failure")


@pytest.fixture
def fresh() -> tuple[PrometheusObserver, CollectorRegistry]:
    metrics = CollectorRegistry()
    return PrometheusObserver(metrics, [7.0, 42.0, 900.0]), metrics


def test_the_names_are_the_documented_ones(fresh: tuple[PrometheusObserver, CollectorRegistry]) -> None:
    """Names and labels are fixed, because dashboards and alerts depend on them."""
    observer, metrics = fresh
    observer.prepare("example")
    observer(QuotaSeen("example", Quota(limit=1, remaining=1, reset=1.0, resource=None)))
    found = {
        sample.name: tuple(sorted(sample.labels))
        for family in metrics.collect()
        for sample in family.samples
        if not sample.name.endswith(("_created", "_sum", "_bucket"))
    }
    assert found == {
        "outbound_http_breaker_state": ("state", "upstream"),
        "outbound_http_breaker_transitions_total": ("state", "upstream"),
        "outbound_http_ratelimit_limit": ("partition", "resource", "upstream"),
        "outbound_http_ratelimit_remaining": ("partition", "resource", "upstream"),
        "outbound_http_ratelimit_reset_timestamp_seconds": ("partition", "resource", "upstream"),
        "outbound_http_ratelimit_wait_seconds_total": ("upstream",),
        "outbound_http_retry_budget_remaining_ratio": ("upstream",),
        "outbound_http_calls_total": ("outcome", "reason", "upstream"),
        "outbound_http_call_duration_seconds_count": ("outcome", "upstream"),
        "outbound_http_call_attempts_count": ("upstream",),
        "outbound_http_attempts_total": ("error_type", "method", "status_code", "upstream"),
        "outbound_http_attempt_duration_seconds_count": ("outcome", "upstream"),
        "outbound_http_active_requests": ("upstream",),
        "outbound_http_concurrency_limit": ("upstream",),
        "outbound_http_retries_total": ("reason", "upstream"),
        "outbound_http_retries_suppressed_total": ("reason", "upstream"),
        "outbound_http_backoff_seconds_total": ("source", "upstream"),
        "outbound_http_fallbacks_total": ("source", "upstream"),
    }


@pytest.mark.parametrize("upstream", ["other", "example"])
@override_settings(OUTBOUND_HTTP=NAMED)
def test_every_series_is_there_from_the_start(upstream: str) -> None:
    """All series exist with 0 before any call, so that their first failure is counted."""
    process.current()
    series: list[tuple[str, dict[str, str]]] = [
        ("calls_total", {"outcome": "success", "reason": ""}),
        ("calls_total", {"outcome": "client_error", "reason": ""}),
        ("calls_total", {"outcome": "rejected", "reason": "deadline_exceeded"}),
        *(("calls_total", {"outcome": "failure", "reason": reason}) for reason in FAILURES),
        *(("call_duration_seconds_count", {"outcome": o}) for o in (*OUTCOMES_OF_ATTEMPTS, "rejected")),
        ("call_attempts_count", {}),
        *(("attempt_duration_seconds_count", {"outcome": o}) for o in OUTCOMES_OF_ATTEMPTS),
        ("active_requests", {}),
        *(("retries_total", {"reason": reason}) for reason in FAILURES),
        *(("retries_suppressed_total", {"reason": reason}) for reason in ("deadline", "not_idempotent")),
        ("fallbacks_total", {"source": "database"}),
        *(("backoff_seconds_total", {"source": source}) for source in ("computed", "retry_after")),
        *(
            ("attempts_total", {"method": "GET", "status_code": status, "error_type": error})
            for status, error in [
                ("200", ""),
                ("404", ""),
                ("429", "http_429"),
                ("403", "http_429"),
                ("408", "timeout"),
                ("500", "http_5xx"),
                ("503", "http_5xx"),
                ("", "connect"),
                ("", "dns"),
                ("", "tls"),
                ("", "timeout"),
                ("", "truncated"),
            ]
        ),
    ]
    found = Metrics.now()
    expected = {
        (f"outbound_http_{name}", frozenset({**labels, "upstream": upstream}.items())) for name, labels in series
    }
    assert expected - set(found) == set()


@override_settings(OUTBOUND_HTTP=NAMED)
def test_a_call_that_recovers_is_counted(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """One successful call of two attempts, one of which failed; 1 s of backoff."""

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(2)
        return (503 if len(responses.calls) == 0 else 200), {}, ""

    metrics = Metrics()
    responses.add_callback("GET", URL, answer)
    http.get(URL)
    assert metrics("calls_total", upstream="example", outcome="success", reason="") == 1
    assert metrics("call_duration_seconds_sum", upstream="example", outcome="success") == 5
    assert metrics("call_attempts_sum", upstream="example") == 2
    assert metrics("call_attempts_count", upstream="example") == 1
    attempts = {"upstream": "example", "method": "GET"}
    assert metrics("attempts_total", status_code="503", error_type="http_5xx", **attempts) == 1
    assert metrics("attempts_total", status_code="200", error_type="", **attempts) == 1
    assert metrics("attempt_duration_seconds_sum", upstream="example", outcome="failure") == 2
    assert metrics("attempt_duration_seconds_sum", upstream="example", outcome="success") == 2
    assert metrics("retries_total", upstream="example", reason="http_5xx") == 1
    assert metrics("backoff_seconds_total", upstream="example", source="computed") == 1
    assert metrics("active_requests", upstream="example") == 0


def test_a_call_that_fails_is_counted_once(responses: responses_library.RequestsMock, metrics: Metrics) -> None:
    """Four attempts that time out are one failed call."""
    responses.get(URL, body=requests.ReadTimeout())
    with pytest.raises(requests.ReadTimeout):
        http.get(URL)
    assert metrics("calls_total", upstream="other", outcome="failure", reason="timeout") == 1
    assert metrics("attempts_total", upstream="other", method="GET", status_code="", error_type="timeout") == 4
    assert metrics("retries_total", upstream="other", reason="timeout") == 3


def test_a_404_counts_as_answered(responses: responses_library.RequestsMock, metrics: Metrics) -> None:
    """A client error is no failure of the upstream."""
    responses.get(URL, status=404)
    http.get(URL)
    assert metrics("calls_total", upstream="other", outcome="client_error", reason="") == 1


def test_a_call_that_sent_nothing_is_rejected(
    responses: responses_library.RequestsMock, metrics: Metrics, clock: FakeClock
) -> None:
    """A hop whose time was up before it is a rejected call, and has no attempts."""

    def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.advance(61)
        return 302, {"Location": URL}, ""

    responses.add_callback("GET", URL, slow)
    with pytest.raises(http.DeadlineExceeded):
        http.get(URL)
    assert metrics("calls_total", upstream="other", outcome="rejected", reason="deadline_exceeded") == 1
    assert metrics("call_attempts_count", upstream="other") == 1


def test_retries_that_were_not_made_are_counted(responses: responses_library.RequestsMock, metrics: Metrics) -> None:
    """Suppressed retries are counted by the reason that suppressed them."""
    responses.post(URL, status=503)
    responses.get(URL, status=429, headers={"Retry-After": "600"})
    http.post(URL)
    http.get(URL)
    assert metrics("retries_suppressed_total", upstream="other", reason="not_idempotent") == 1
    assert metrics("retries_suppressed_total", upstream="other", reason="deadline") == 1
    assert metrics("retries_total", upstream="other", reason="http_429") == 0


def test_attempts_in_flight_are_seen(
    responses: responses_library.RequestsMock, metrics: Metrics, clock: FakeClock
) -> None:
    """active_requests is 1 during an attempt and 0 during a delay."""
    during = []

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        during.append(metrics("active_requests", upstream="other"))
        return 503, {}, ""

    responses.add_callback("GET", URL, answer)

    def wait(seconds: float) -> None:
        during.append(metrics("active_requests", upstream="other"))
        clock.advance(seconds)

    with ResilientSession(Policy(retries=1), wait=wait) as session:
        session.get(URL)
    assert during == [1, 0, 1]
    assert metrics("active_requests", upstream="other") == 0


def test_unknown_methods_share_a_label(responses: responses_library.RequestsMock, metrics: Metrics) -> None:
    """The number of series is limited, because unknown methods share the label "other"."""
    for method in ("BREW", "WHEN"):
        responses.add(method, URL, status=200)
        http.request(method, URL)
    assert metrics("attempts_total", upstream="other", method="_OTHER", status_code="200", error_type="") == 2


def concurrency_limit(upstream: str) -> float | None:
    return REGISTRY.get_sample_value("outbound_http_concurrency_limit", {"upstream": upstream})


def limited(limit: int | None, **default: int) -> dict[str, Any]:
    return {"default": default, "upstreams": {"example": {"hosts": ["example.org"], "max_concurrency": limit}}}


@override_settings(OUTBOUND_HTTP=limited(8))
def test_the_limit_is_that_of_the_settings() -> None:
    """The limit of the settings is exported before any call, and is not changed by a session's own policy."""
    process.current()
    assert concurrency_limit("example") == 8
    with ResilientSession(Policy(max_concurrency=2)) as session:
        adapter = session.get_adapter(URL)
        assert isinstance(adapter, ResilientAdapter)
        assert adapter._registries.find().upstream(origin_of(URL)).policy.max_concurrency == 2
    assert concurrency_limit("example") == 8


def test_the_limit_follows_the_settings() -> None:
    """Without a limit, or without the upstream, the gauge is infinite."""
    for settings, expected in [
        (limited(8), 8),
        (limited(3), 3),
        (limited(None), math.inf),
        (limited(5), 5),
        ({}, math.inf),
        (limited(None, max_concurrency=4), math.inf),
    ]:
        with override_settings(OUTBOUND_HTTP=settings):
            process.current()
            assert concurrency_limit("example") == expected


@override_settings(OUTBOUND_HTTP=limited(8, max_concurrency=4))
def test_hosts_without_a_name_have_no_limit_together() -> None:
    """The default limit holds for each host, and there may be any number of them."""
    process.current()
    assert concurrency_limit("other") == math.inf


def test_the_gauges_of_saturation_add_up_over_processes(
    fresh: tuple[PrometheusObserver, CollectorRegistry],
) -> None:
    """Over several processes, both the attempts in flight and the limits are summed."""
    observer, _ = fresh
    assert observer.families.active_requests._multiprocess_mode == "livesum"
    assert observer.families.concurrency_limit._multiprocess_mode == "livesum"


@given(status=st.none() | st.integers(), method=st.text(), reason=st.none() | st.sampled_from(Reason))
def test_labels_are_bounded(status: int | None, method: str, reason: Reason | None) -> None:
    """No status, method or error makes a label that is not on the list."""
    metrics = CollectorRegistry()
    observer = PrometheusObserver(metrics, [])
    result = Result.SUCCESS if reason is None else Result.FAILURE
    target = Target(method, "https", "h", "/")
    observer(AttemptStarted("example", target))
    observer(AttemptEnded("example", target, Outcome(result, reason, status), 1.0))
    (labels,) = (
        sample.labels
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "outbound_http_attempts_total" and sample.value
    )
    assert labels["method"] in {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "_OTHER"}
    assert labels["status_code"] in {"", *map(str, range(100, 600))}
    assert labels["error_type"] in {"", *FAILURES}


def test_buckets_have_edges_at_the_timeouts(fresh: tuple[PrometheusObserver, CollectorRegistry]) -> None:
    """The timeouts are bucket boundaries, so the share of calls within a timeout can be queried."""
    observer, metrics = fresh
    observer.prepare("example")
    edges = {
        float(sample.labels["le"])
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "outbound_http_call_duration_seconds_bucket"
    }
    assert {0.025, 7.0, 10.0, 42.0, 60.0, 900.0} <= edges


def test_hosts_without_a_name_share_their_series(responses: responses_library.RequestsMock, metrics: Metrics) -> None:
    """For any number of hosts, the labels are the configured names and `other`."""
    for host in ("a.test", "b.test"):
        responses.get(f"https://{host}/", status=200)
        http.get(f"https://{host}/")
    assert metrics("calls_total", upstream="other", outcome="success", reason="") == 2


def test_thousands_of_hosts_of_users_add_no_series() -> None:
    """Untrusted hosts add no series: the names of upstreams are the configured ones and `other`."""
    metrics = CollectorRegistry()
    observer = PrometheusObserver(metrics, [10.0, 60.0])
    names = ("pypi", "github", "gitlab", "bitbucket", "codeberg")
    hosts = {f"{name}.test": name for name in names}
    config = registry.Config(Policy(), dict.fromkeys(names, Policy()), hosts)
    fake = process.ProcessRegistry(config, observers=(observer,), runtime=registry.Runtime(clock=FakeClock()))
    for name in (*names, OTHER):
        observer.prepare(name)
    chance = random.Random(7)
    answers = [
        Outcome(Result.SUCCESS, status=200),
        Outcome(Result.CLIENT_ERROR, status=404),
        Outcome(Result.FAILURE, Reason.HTTP_5XX, status=503, quota=Quota(60, 1, 30.0, "core")),
        Outcome(Result.FAILURE, Reason.TIMEOUT),
        Outcome(Result.FAILURE, Reason.TLS),
    ]

    def call(host: str) -> None:
        target = Target("GET", "https", host, f"/{chance.random()}")
        call = Call(fake.upstream(origin_of(f"https://{host}/")), target)
        with suppress(NotSent):
            call.begin()
            call.end(chance.choice(answers))

    def series() -> int:
        return sum(len(family.samples) for family in metrics.collect())

    before = series()
    for host in (f"{chance.randrange(10**12)}.users.test" for _ in range(3_000)):
        call(host)
    assert series() == before
    for name in names * 200:
        call(f"{name}.test")
    assert series() == before + 3 * len(names)  # a quota each: limit, remaining, reset
    assert before / (len(names) + 1) < 250  # of each upstream: buckets included


def test_a_session_with_a_policy_counts_under_the_same_names(
    responses: responses_library.RequestsMock,
) -> None:
    """A session with a policy of its own counts under the names in the settings."""
    responses.get(URL, status=200)
    with override_settings(OUTBOUND_HTTP=NAMED), ResilientSession(Policy(retries=0)) as session:
        metrics = Metrics()
        session.get(URL)
        assert metrics("calls_total", upstream="example", outcome="success", reason="") == 1


def test_a_new_upstream_is_counted_from_its_first_call(
    fresh: tuple[PrometheusObserver, CollectorRegistry],
) -> None:
    """An upstream without prepared series is counted from its first call."""
    observer, metrics = fresh
    observer(AttemptStarted("late", Target("GET", "https", "h", "/")))
    assert metrics.get_sample_value("outbound_http_active_requests", {"upstream": "late"}) == 1
