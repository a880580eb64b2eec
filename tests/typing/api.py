"""Uses every public name of core.http as its documentation says, for type checkers; nothing of it is run.

A line that ends in ``type: ignore`` is a mistake that they must find: an ignore without an error is an error.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_type

import httpx
import httpx2
import requests as plain

import core.http.httpx as httpx_driver
import core.http.httpx2 as httpx2_driver
from core import http
from core.http import (
    WEB_REQUEST,
    AttemptTimeout,
    BlockedAddress,
    CircuitBreaker,
    CircuitOpen,
    DeadlineExceeded,
    NotSent,
    Policy,
    RateLimited,
    ResilientAdapter,
    ResilientSession,
    ResponseTooLarge,
    RetryBudget,
    Verdict,
    make_resilient,
    observe,
    requests,
)
from core.http.events import CallEnded, Event
from core.http.httpx import AsyncResilientClient, AsyncResilientTransport, ResilientClient, ResilientTransport
from core.http.outcome import Attempt
from core.http.requests import web

URL = "https://example.org/"


def classify(status: int, headers: Mapping[str, str], body: bytes | None) -> Verdict | None:
    if status == 403 and body and b"limit" in body:
        return Verdict.rate_limited(60, doubled=True, why="has a limit")
    if "X-Later" in headers:
        return Verdict.transient(2.5)
    if status == 400:
        return Verdict.permanent()
    return Verdict.success() if status == 404 else None


policy = Policy(
    retries=3,
    backoff=1,
    backoff_max=30,
    jitter=0.1,
    attempt_timeout=10,
    total_timeout=60.0,
    retry_statuses=[503],
    retry_methods={"GET", "HEAD"},
    max_response_bytes=None,
    max_json_nodes=None,
    max_concurrency=8,
    requests_per_second=2.5,
    circuit_breaker=CircuitBreaker(
        failures_in_a_row=10, failure_rate=0.8, minimum_attempts=20, window=30, open_for=15, open_max=300
    ),
    retry_budget=RetryBudget(ratio=0.2, minimum=10, window=10),
    rate_limit_gate=False,
    classify=classify,
)
Policy(retry_statuses=Policy().retry_statuses | {520}, retry_methods=("GET",), circuit_breaker=None, retry_budget=None)
assert_type(policy.retry_statuses, frozenset[int])
assert_type(policy.retry_methods, frozenset[str])
assert_type(WEB_REQUEST, Policy)

Policy(3)  # type: ignore
Policy({"retries": 3})  # type: ignore
Policy(timeout=3)  # type: ignore
Policy(retries="3")  # type: ignore
Policy(retry_statuses=503)  # type: ignore
Policy(retry_statuses=["503"])  # type: ignore
Policy(circuit_breaker=True)  # type: ignore
Policy(circuit_breaker={"window": 10})  # type: ignore
Policy(classify="package.classify")  # type: ignore
policy.retries = 4  # type: ignore
CircuitBreaker(5)  # type: ignore
RetryBudget(0.2)  # type: ignore


def sessions() -> None:
    with ResilientSession(policy, partition="token-2") as session, session.within(5):
        assert_type(session.get(URL, timeout=3), plain.Response)
    ResilientSession(untrusted=True, clock=lambda: 0.0, wait=lambda seconds: None, random=lambda: 0.5)
    ResilientSession({"retries": 3})  # type: ignore
    ResilientSession(retries=3)  # type: ignore
    ResilientSession(policy, True)  # type: ignore
    ResilientSession(partition=2)  # type: ignore

    theirs = plain.Session()
    theirs.mount("https://", ResilientAdapter(policy, pool_connections=10, pool_maxsize=10, pool_block=True))
    assert_type(make_resilient(theirs, policy), tuple[str, ...])
    make_resilient(session)
    ResilientAdapter(10)  # type: ignore
    ResilientAdapter(max_retries=3)  # type: ignore
    make_resilient(plain)  # type: ignore
    make_resilient(theirs, {"retries": 3})  # type: ignore


async def clients() -> None:
    async with AsyncResilientClient(policy, untrusted=True, partition="token-2", timeout=3, headers={}) as client:
        with client.within(5):
            assert_type(await client.get(URL), httpx.Response)
        assert_type(await client.send(client.build_request("GET", URL), stream=True), httpx.Response)
    with ResilientClient(clock=lambda: 0.0, wait=lambda seconds: None, random=lambda: 0.5, verify=False) as sync_client:
        assert_type(sync_client.post(URL, json={}), httpx.Response)
    httpx.AsyncClient(transport=AsyncResilientTransport(policy, uds="/run/admin.sock"))
    httpx.Client(transport=ResilientTransport(policy))
    AsyncResilientClient({"retries": 3})  # type: ignore
    AsyncResilientClient(policy, True)  # type: ignore
    httpx.Client(transport=AsyncResilientTransport())  # type: ignore
    async with httpx2_driver.AsyncResilientClient() as other:
        assert_type(await other.get(URL), httpx2.Response)
    try:
        await client.get(URL)
    except httpx_driver.CircuitOpen as error:
        assert_type(error.retry_at, datetime)
        assert_type(error.attempts, tuple[Attempt, ...])
        print(error.response, error.request)


def functions() -> None:
    assert_type(http.get(URL, params={"a": "b"}), plain.Response)
    http.head(URL)
    http.options(URL)
    http.post(URL, json={"a": 1})
    http.put(URL, data=b"x")
    http.patch(URL, data={"a": "b"})
    http.delete(URL)
    http.request("GET", URL)
    assert_type(http.__version__, str)


def swapped() -> None:
    response: requests.Response = requests.get(URL, params={"q": "1"}, timeout=(3, 10))
    assert_type(response, plain.Response)
    with requests.Session() as session:
        assert_type(session, ResilientSession)
    assert_type(requests.session(), ResilientSession)
    try:
        requests.request("POST", URL, json={"a": [1]}, auth=("user", "password"), headers={"X": "y"}).raise_for_status()
    except (requests.HTTPError, requests.exceptions.SSLError) as error:
        print(error.request)
    assert requests.codes
    requests.adapters.HTTPAdapter(max_retries=3)
    print(requests.utils.default_user_agent(), requests.auth.HTTPBasicAuth("a", "b"), requests.__version__)
    print(requests.cookies.RequestsCookieJar(), requests.structures.CaseInsensitiveDict[str]())
    requests.gett(URL)  # type: ignore
    requests.get(URL, timeout="3")  # type: ignore
    answer: web.Response = web.get(URL)
    assert_type(answer, plain.Response)
    assert_type(web.Session(), ResilientSession)
    web.gett(URL)  # type: ignore


def errors(session: ResilientSession) -> None:
    try:
        session.get(URL)
    except (CircuitOpen, RateLimited) as refused:
        assert_type(refused.retry_at, datetime)
    except NotSent as refused:
        assert_type(refused.attempts, tuple[Attempt, ...])
    except (AttemptTimeout, DeadlineExceeded) as late:
        assert_type(late.reached, str)
        assert_type(late.received, int)
    except (BlockedAddress, ResponseTooLarge) as dropped:
        assert_type(dropped.attempts, tuple[Attempt, ...])


def watch(event: Event) -> None:
    if isinstance(event, CallEnded):
        print(event)


observe(watch)
with observe(watch):
    pass
observe("watch")  # type: ignore
observe(lambda: None)  # type: ignore
Verdict.transient("60")  # type: ignore
Verdict(503)  # type: ignore
