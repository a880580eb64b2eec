"""Policy refuses invalid values, and its errors have the allowed ones."""

from __future__ import annotations

import dataclasses
import math
import pickle
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http import WEB_REQUEST, Policy

SECONDS = ("backoff", "backoff_max", "attempt_timeout", "total_timeout")
NUMBERS = (*SECONDS, "jitter")
INTEGERS = ("retries", "max_response_bytes", "max_json_nodes")
LIMITS = ("max_concurrency", "requests_per_second")
NOT_NUMBERS = st.one_of(st.text(), st.booleans(), st.binary(), st.lists(st.integers()), st.complex_numbers())


def test_defaults_are_the_documented_ones() -> None:
    """Without arguments a call is tried four times, 1, 2 and 4 s apart, 10 s a try and 60 s in all."""
    assert dataclasses.asdict(Policy()) == {
        "retries": 3,
        "backoff": 1.0,
        "backoff_max": 30.0,
        "jitter": 0.0,
        "attempt_timeout": 10.0,
        "total_timeout": 60.0,
        "retry_statuses": frozenset({408, 425, 429, 500, 502, 503, 504}),
        "retry_methods": frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}),
        "max_response_bytes": 32 * 2**20,
        "max_json_nodes": 500_000,
        "max_concurrency": None,
        "requests_per_second": None,
        "circuit_breaker": {
            "failures_in_a_row": 10,
            "failure_rate": 0.8,
            "minimum_attempts": 20,
            "window": 30.0,
            "open_for": 15.0,
            "open_max": 300.0,
        },
        "retry_budget": {"ratio": 0.2, "minimum": 10, "window": 10.0},
        "rate_limit_gate": True,
        "classify": None,
    }


@pytest.mark.parametrize("field", [*NUMBERS, *INTEGERS, *LIMITS])
@given(value=NOT_NUMBERS)
def test_wrong_types_are_refused(field: str, value: Any) -> None:
    """A value of the wrong type raises TypeError with the field, the value and what is allowed."""
    with pytest.raises(TypeError) as refused:
        Policy(**{field: value})
    assert str(refused.value).startswith(f"{field}={value!r}: must be ")


@pytest.mark.parametrize("field", [*NUMBERS, "retries"])
def test_none_is_refused(field: str) -> None:
    """None is refused for all fields except limits."""
    with pytest.raises(TypeError, match=f"^{field}=None: must be "):
        Policy(**{field: None})


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(field: str, value: float) -> None:
    """NaN and infinity raise ValueError with the field, the value and what is allowed."""
    with pytest.raises(ValueError, match=rf"^{field}={value!r}: must be a number "):
        Policy(**{field: value})


@pytest.mark.parametrize("field", NUMBERS)
@given(value=st.floats(max_value=0, exclude_max=True, allow_nan=False))
def test_negative_numbers_are_refused(field: str, value: float) -> None:
    """A negative number raises ValueError with the field and the value."""
    with pytest.raises(ValueError) as refused:
        Policy(**{field: value})
    assert str(refused.value).startswith(f"{field}={value!r}: must be ")


@pytest.mark.parametrize("field", INTEGERS)
@given(value=st.integers(max_value=-1))
def test_negative_counts_are_refused(field: str, value: int) -> None:
    """A negative count raises ValueError with the field and the value."""
    with pytest.raises(ValueError) as refused:
        Policy(**{field: value})
    assert str(refused.value).startswith(f"{field}={value!r}: must be a whole number from 0 to ")


@pytest.mark.parametrize("field", INTEGERS)
@given(value=st.floats())
def test_fractions_are_no_counts(field: str, value: float) -> None:
    """A float is refused where a whole number is wanted, 3.0 too."""
    with pytest.raises(TypeError) as refused:
        Policy(**{field: value})
    assert str(refused.value).startswith(f"{field}={value!r}: must be a whole number from 0 to ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"retries": 101}, "retries=101: must be a whole number from 0 to 100"),
        ({"backoff": 86_401}, "backoff=86401: must be a number of seconds from 0 to 86400"),
        ({"attempt_timeout": 0}, "attempt_timeout=0: must be a number of seconds above 0 to 86400"),
        ({"total_timeout": 0.0}, "total_timeout=0.0: must be a number of seconds above 0 to 86400"),
        ({"jitter": 1.5}, "jitter=1.5: must be a number from 0 to 1"),
        ({"max_response_bytes": "1M"}, "max_response_bytes='1M': must be a whole number from 0 to "),
        ({"max_json_nodes": -1}, "max_json_nodes=-1: must be a whole number from 0 to "),
        ({"max_concurrency": 0}, "max_concurrency=0: must be a whole number from 1 to 10000"),
        ({"max_concurrency": 10_001}, "max_concurrency=10001: must be a whole number from 1 to 10000"),
        ({"max_concurrency": 8.0}, "max_concurrency=8.0: must be a whole number from 1 to 10000"),
        ({"requests_per_second": 0}, "requests_per_second=0: must be a number above 0, up to 10000"),
        ({"requests_per_second": -0.5}, "requests_per_second=-0.5: must be a number above 0, up to 10000"),
        ({"requests_per_second": math.nan}, "requests_per_second=nan: must be a number above 0, up to 10000"),
        ({"requests_per_second": 10_001}, "requests_per_second=10001: must be a number above 0, up to 10000"),
        ({"attempt_timeout": 61}, "attempt_timeout=61: must not be longer than total_timeout=60.0"),
        ({"total_timeout": 5}, "attempt_timeout=10.0: must not be longer than total_timeout=5"),
        ({"backoff": 31}, "backoff=31: must not be longer than backoff_max=30.0"),
        ({"retry_statuses": 503}, "retry_statuses=503: must be a collection of HTTP statuses"),
        ({"retry_statuses": "503"}, "retry_statuses='503': must be a collection of HTTP statuses"),
        ({"retry_statuses": ["503"]}, "retry_statuses contains '503': must be HTTP statuses (whole numbers from 100"),
        ({"retry_statuses": [True]}, "retry_statuses contains True: must be HTTP statuses"),
        ({"retry_statuses": [99]}, "retry_statuses contains 99: must be HTTP statuses"),
        ({"retry_statuses": [600]}, "retry_statuses contains 600: must be HTTP statuses"),
        ({"retry_methods": "GET"}, "retry_methods='GET': must be a collection of HTTP methods"),
        ({"retry_methods": ["get"]}, "retry_methods contains 'get': must be HTTP methods in capital letters"),
        ({"retry_methods": [b"GET"]}, "retry_methods contains b'GET': must be HTTP methods in capital letters"),
        ({"retry_methods": ["GET\n"]}, r"retry_methods contains 'GET\n': must be HTTP methods in capital letters"),
        ({"retry_statuses": [[503]]}, "retry_statuses"),
        ({"retry_methods": [{}]}, "retry_methods"),
    ],
)
def test_the_message_has_field_value_and_allowed_values(values: dict[str, Any], message: str) -> None:
    """The error has the field, its value and the allowed values."""
    with pytest.raises((TypeError, ValueError)) as refused:
        Policy(**values)
    assert str(refused.value).startswith(message)


def test_a_named_status_is_a_status() -> None:
    """The members of http.HTTPStatus are whole numbers, and serve as statuses."""
    assert Policy(retry_statuses=frozenset({HTTPStatus.BAD_GATEWAY})).retry_statuses == {502}


@given(
    retries=st.integers(0, 100),
    seconds=st.lists(st.floats(0.001, 86_400), min_size=2, max_size=2).map(sorted),
    delays=st.lists(st.floats(0, 86_400), min_size=2, max_size=2).map(sorted),
    jitter=st.floats(0, 1),
    limit=st.none() | st.integers(0, 2**63),
    nodes=st.none() | st.integers(0, 2**63),
    concurrency=st.none() | st.integers(1, 10_000),
    pace=st.none() | st.floats(0, 10_000, exclude_min=True) | st.integers(1, 10_000),
)
def test_everything_within_its_range_is_accepted(
    retries: int,
    seconds: list[float],
    delays: list[float],
    jitter: float,
    limit: int | None,
    nodes: int | None,
    concurrency: int | None,
    pace: float | None,
) -> None:
    """The values that the messages allow are accepted."""
    policy = Policy(
        retries=retries,
        attempt_timeout=seconds[0],
        total_timeout=seconds[1],
        backoff=delays[0],
        backoff_max=delays[1],
        jitter=jitter,
        max_response_bytes=limit,
        max_json_nodes=nodes,
        max_concurrency=concurrency,
        requests_per_second=pace,
    )
    assert (policy.max_concurrency, policy.requests_per_second) == (concurrency, pace)
    assert policy.max_json_nodes == nodes
    assert (policy.retries, policy.total_timeout, policy.max_response_bytes) == (retries, seconds[1], limit)


def test_collections_may_be_of_any_kind() -> None:
    """Lists, as settings files write them, become frozen sets."""
    policy = Policy(retry_statuses=[503, 503], retry_methods=("GET", "M-SEARCH"))  # type: ignore[arg-type]
    assert policy.retry_statuses == frozenset({503})
    assert policy.retry_methods == frozenset({"GET", "M-SEARCH"})


def test_a_policy_never_changes() -> None:
    """A policy that threads share cannot be changed under them."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().retries = 5  # type: ignore[misc]


def test_arguments_are_named() -> None:
    """Policy(3) says too little, and is refused."""
    with pytest.raises(TypeError):
        Policy(3)  # type: ignore[misc]


def test_equal_policies_are_equal_and_survive_pickling() -> None:
    """Policies compare and hash by value, and travel to other processes."""
    policy = Policy(retries=1)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert len({policy, Policy(retries=1)}) == 1


def test_the_web_request_policy_ends_before_a_web_worker_is_killed() -> None:
    """WEB_REQUEST makes two attempts, each with its full time, within 5 s."""
    assert WEB_REQUEST.retries == 1
    assert 2 * WEB_REQUEST.attempt_timeout + WEB_REQUEST.backoff <= WEB_REQUEST.total_timeout <= 5
