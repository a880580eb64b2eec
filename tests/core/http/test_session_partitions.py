"""Partitions: credentials with a quota of their own."""

from __future__ import annotations

import pickle
from contextlib import suppress

import pytest
import requests
import responses as responses_library

from core.http import (
    CircuitOpen,
    RateLimited,
    ResilientSession,
)
from core.http.testing import FakeClock

URL = "https://example.org/"


def test_each_partition_has_a_quota_of_its_own(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A token without quota blocks neither the other token nor anonymous calls."""
    responses.get(URL, status=429, headers={"Retry-After": "600"})
    responses.get(URL, status=200)
    one, two, anonymous = ResilientSession(partition="one"), ResilientSession(partition="two"), ResilientSession()
    assert one.get(URL).status_code == 429
    with pytest.raises(RateLimited):
        one.get(URL)
    assert two.get(URL).ok
    assert anonymous.get(URL).ok
    with pytest.raises(RateLimited):
        ResilientSession(partition="one").get(URL)


def test_partitions_share_the_breaker(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A server that is down is down for every token."""
    responses.get(URL, body=requests.ConnectionError("refused"))
    for name in ("one", "two", "three"):
        with suppress(requests.RequestException):
            ResilientSession(partition=name).get(URL)
    with pytest.raises(CircuitOpen):
        ResilientSession().get(URL)


def test_a_partition_is_pickled_with_its_session(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A pickled session keeps its partition, so its quota is the same in another process."""
    responses.get(URL, status=429, headers={"Retry-After": "600"})
    session = pickle.loads(pickle.dumps(ResilientSession(partition="one")))
    session.get(URL)
    with pytest.raises(RateLimited):
        ResilientSession(partition="one").get(URL)


@pytest.mark.parametrize("name", ["ghp_" + "x" * 40, "a b", "a/b", "a\n"])
def test_a_partition_is_a_short_name(name: str) -> None:
    """A partition is a short name, because it is a label of metrics and a part of cache keys."""
    with pytest.raises(ValueError, match="partition="):
        ResilientSession(partition=name)
