"""make_resilient, on sessions that other code made."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import responses as responses_library
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from core.http import CircuitOpen, Policy, ResilientAdapter, ResilientSession, make_resilient
from core.http.testing import FakeClock
from core.http.wire import compat

URL = "https://example.org/"


class SourceAddressAdapter(HTTPAdapter):
    """An adapter that does something of its own."""


def test_calls_of_the_session_are_resilient(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """The session is the same, with its headers and hooks; nothing is left to say."""
    session = requests.Session()
    session.headers["X-Mine"] = "1"
    assert make_resilient(session) == ()
    responses.get(URL, status=503)
    assert session.get(URL).status_code == 503
    assert clock.waits == [1, 2, 4]
    assert responses.calls[0].request.headers["X-Mine"] == "1"


def test_the_policy_holds(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """A policy of the session's own has a state of its own, for http and https together."""
    session = requests.Session()
    make_resilient(session, Policy(retries=0))
    responses.get(URL, status=503)
    for _ in range(10):
        session.get(URL)
    with pytest.raises(CircuitOpen):
        session.get(URL)
    assert requests.Session().get(URL).status_code == 503
    assert session.get_adapter("http://x/") is session.get_adapter(URL)


def test_adapters_for_longer_prefixes_are_replaced() -> None:
    """A plain adapter for one host is made resilient as well, and its retries are the policy's."""
    session = requests.Session()
    session.mount("https://api.example.org/", HTTPAdapter(max_retries=Retry(7)))
    assert make_resilient(session) == ()
    adapter = session.get_adapter("https://api.example.org/v1")
    assert isinstance(adapter, ResilientAdapter)
    assert adapter.max_retries.total == 0


def test_a_scheme_that_the_session_lacks_is_not_added() -> None:
    """A session without an adapter for http still refuses http."""
    session = requests.Session()
    del session.adapters["http://"]
    make_resilient(session)
    with pytest.raises(requests.exceptions.InvalidSchema):
        session.get("http://example.org/")


def test_larger_pools_are_kept() -> None:
    """Pools that are larger than ours keep their size, and a blocking pool stays one."""
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_connections=3, pool_maxsize=500, pool_block=True))
    make_resilient(session)
    adapter: Any = session.get_adapter(URL)
    assert compat.pool_options_of(adapter) == {"num_pools": 32, "maxsize": 500, "block": True}


def test_another_adapter_stays_and_is_named(clock: FakeClock) -> None:
    """An adapter of another class is not replaced; the warning names its prefix and says what to do."""
    session = requests.Session()
    theirs = SourceAddressAdapter()
    session.mount("https://internal.example/", theirs)
    with pytest.warns(UserWarning, match=r"https://internal\.example/ keeps its SourceAddressAdapter") as warned:
        (told,) = make_resilient(session)
    assert str(warned[0].message) == told
    assert warned[0].filename == __file__
    assert "derives from SourceAddressAdapter and ResilientAdapter" in told
    assert session.get_adapter("https://internal.example/x") is theirs
    assert isinstance(session.get_adapter(URL), ResilientAdapter)


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_resilient_session_stays_as_it_is(untrusted: bool) -> None:
    """Twice is as good as once, and a second policy does not pass for accepted."""
    session = ResilientSession(untrusted=untrusted)
    before = dict(session.adapters)
    assert make_resilient(session) == ()
    with pytest.warns(UserWarning, match=r"https?:// already has a ResilientAdapter and keeps its policy"):
        assert len(make_resilient(session, Policy(retries=0))) == 2
    assert session.adapters == before


@pytest.mark.parametrize("thing", [None, requests, "https://example.org/", requests.Session, HTTPAdapter()])
def test_other_objects_are_refused(thing: Any) -> None:
    """A client of another library, or a class instead of a session, raises an error with the expected type."""
    with pytest.raises(TypeError, match=r"must be an instance of requests\.Session"):
        make_resilient(thing)


def test_a_session_without_adapters_is_refused() -> None:
    """A subclass that forgot to call requests' own __init__ learns it here."""

    class Forgetful(requests.Session):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"its class must call requests\.Session\.__init__"):
        make_resilient(Forgetful())
