# ruff: noqa: PLC0415 - each library is imported where it is used, because it may not be installed
"""The libraries that `benchmarks.comparison` compares, with the same settings as far as each library allows.

The settings are four attempts, 50 ms before the first retry, 1 s for an attempt, 3 s for a call, bodies of at most
4 MiB, and the library's circuit breaker with its defaults, if it has one. Libraries that are not installed are omitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from core.http import Policy, ResilientSession

ATTEMPTS = 4
BACKOFF = 0.05
ATTEMPT = 1.0
TOTAL = 3.0
MOST_BYTES = 4 * 2**20
STATUSES = [408, 425, 429, 500, 502, 503, 504]

Call = Callable[[str, str], tuple[int, bytes]]
"""A function that takes method and URL, and returns status and body or raises an error of the library."""


@dataclass(frozen=True)
class Contender:
    name: str
    make: Callable[[], Call]
    """A function that returns a new client, with a new circuit breaker."""
    posts: bool = True


def _through(session: requests.Session, **options: Any) -> Call:
    session.trust_env = False

    def call(method: str, url: str) -> tuple[int, bytes]:
        response = session.request(method, url, data=b"x" if method == "POST" else None, **options)
        return response.status_code, response.content

    return call


def _plain() -> Call:
    return _through(requests.Session(), timeout=ATTEMPT)


def _ours() -> Call:
    return _through(
        ResilientSession(
            Policy(backoff=BACKOFF, attempt_timeout=ATTEMPT, total_timeout=TOTAL, max_response_bytes=MOST_BYTES)
        )
    )


def _urllib3() -> Call:
    from urllib3 import Retry

    session = requests.Session()
    retry = Retry(
        total=ATTEMPTS - 1,
        backoff_factor=BACKOFF,
        status_forcelist=STATUSES,
        raise_on_status=False,
        raise_on_redirect=False,
    )
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return _through(session, timeout=ATTEMPT)


def _tenacity() -> Call:
    import tenacity

    call = _through(requests.Session(), timeout=ATTEMPT)
    return tenacity.retry(
        retry=tenacity.retry_if_exception_type(
            (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError)
        )
        | tenacity.retry_if_result(lambda answer: answer[0] in STATUSES),
        wait=tenacity.wait_exponential(multiplier=BACKOFF),
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(TOTAL),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(call)


def _httpx_retries() -> Call:
    import httpx
    from httpx_retries import Retry, RetryTransport

    retry = Retry(
        total=ATTEMPTS - 1, backoff_factor=BACKOFF, backoff_jitter=0, status_forcelist=STATUSES, total_timeout=TOTAL
    )
    client = httpx.Client(transport=RetryTransport(retry=retry), timeout=ATTEMPT, trust_env=False)

    def call(method: str, url: str) -> tuple[int, bytes]:
        response = client.request(method, url, content=b"x" if method == "POST" else None)
        return response.status_code, response.content

    return call


def _clientwright() -> Call:
    from clientwright import ClientConfig, RetryConfig, TimeoutConfig, build_sync

    config = ClientConfig(
        service_name="comparison",
        timeout=TimeoutConfig(total=TOTAL, attempt=ATTEMPT, connect=ATTEMPT, read=ATTEMPT),
        retry=RetryConfig(
            max_attempts=ATTEMPTS, initial_backoff=BACKOFF, jitter=0, retryable_status=frozenset(STATUSES)
        ),
    )
    return _through(build_sync("requests", config))


def _httpware() -> Call:
    from httpware import Client, StatusError
    from httpware.middleware.resilience.circuit_breaker import CircuitBreaker
    from httpware.middleware.resilience.retry import Retry

    retry = Retry(max_attempts=ATTEMPTS, base_delay=BACKOFF, retry_status_codes=frozenset(STATUSES))
    client = Client(
        middleware=[CircuitBreaker(), retry], timeout=ATTEMPT, trust_env=False, max_response_body_bytes=MOST_BYTES
    )

    def call(method: str, url: str) -> tuple[int, bytes]:
        try:
            response = client.request(method, url, content=b"x" if method == "POST" else None)
        except StatusError as exc:
            return exc.response.status_code, exc.response.content
        return response.status_code, response.content

    return call


def _pyresilience() -> Call:
    from pyresilience import CircuitBreakerConfig, RetryConfig, TimeoutConfig, resilient
    from pyresilience.contrib.http import retry_after_delay

    session = requests.Session()
    session.trust_env = False

    class Failed(Exception):  # noqa: N818 - it carries a response, because the breaker counts only exceptions
        def __init__(self, answer: tuple[int, bytes], response: Any) -> None:
            self.answer, self.response = answer, response

    @resilient(
        retry=RetryConfig(
            max_attempts=ATTEMPTS,
            delay=BACKOFF,
            jitter=False,
            delay_func=retry_after_delay(max_wait=60),
            retry_on=(Exception,),
        ),
        timeout=TimeoutConfig(seconds=ATTEMPT, per_attempt=True),
        circuit_breaker=CircuitBreakerConfig(),
    )
    def attempt(method: str, url: str) -> tuple[int, bytes]:
        response = session.request(method, url, data=b"x" if method == "POST" else None, timeout=ATTEMPT)
        answer = response.status_code, response.content
        if response.status_code in STATUSES:
            raise Failed(answer, response)
        return answer

    def call(method: str, url: str) -> tuple[int, bytes]:
        try:
            return attempt(method, url)
        except Failed as exc:
            return exc.answer

    return call


def _botocore() -> Call:
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import ClientError

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=ATTEMPT,
        read_timeout=ATTEMPT,
        proxies={},
        s3={"addressing_style": "path"},
    )
    clients: dict[str, Any] = {}

    def call(method: str, url: str) -> tuple[int, bytes]:  # noqa: ARG001 - S3 reads objects by GET
        if url not in clients:
            clients[url] = botocore.session.get_session().create_client(
                "s3",
                region_name="us-east-1",
                endpoint_url=url,
                config=config,
                aws_access_key_id="key",
                aws_secret_access_key="secret",  # noqa: S106 - for a local server
            )
        try:
            answer = clients[url].get_object(Bucket="bucket", Key="key")
        except ClientError as exc:
            return exc.response["ResponseMetadata"]["HTTPStatusCode"], b""
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()

    return call


KNOWN = {
    "requests": Contender("requests", _plain),
    "urllib3": Contender("urllib3 Retry", _urllib3),
    "tenacity": Contender("tenacity", _tenacity),
    "httpx-retries": Contender("httpx-retries", _httpx_retries),
    "clientwright": Contender("clientwright", _clientwright),
    "httpware": Contender("httpware", _httpware),
    "pyresilience": Contender("pyresilience", _pyresilience),
    "botocore": Contender("botocore (S3)", _botocore, posts=False),
}
OURS = Contender("core.http", _ours)


def installed() -> list[tuple[Contender, str]]:
    """Return the libraries that can be imported, with their versions. core.http is the last one."""
    found = []
    for distribution, contender in KNOWN.items():
        try:
            contender.make()
        except ImportError:
            continue
        found.append((contender, version(distribution)))
    return [*found, (OURS, "this tree")]
