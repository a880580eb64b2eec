"""The limits of a session's cookie jar."""

from __future__ import annotations

import copy
import pickle
from email.message import Message

import pytest
import requests
from requests.cookies import MockRequest, MockResponse, RequestsCookieJar

from core import http
from core.http import ResilientSession
from core.http.wire import cookie_jar
from core.http.wire.cookie_jar import MOST_BYTES, MOST_OF_SITE, BoundedCookieJar
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply


@pytest.fixture
def jar() -> BoundedCookieJar:
    return BoundedCookieJar()


def answered(jar: RequestsCookieJar, host: str, *cookies: str) -> None:
    """Store the cookies of an answer of `host`, as requests does."""
    message = Message()
    for cookie in cookies:
        message["Set-Cookie"] = cookie
    request = requests.Request("GET", f"http://{host}/").prepare()
    jar.extract_cookies(MockResponse(message), MockRequest(request))  # type: ignore[arg-type]  # as in requests


def sent(jar: RequestsCookieJar, host: str) -> str | None:
    request = requests.Request("GET", f"http://{host}/", cookies=jar).prepare()
    return request.headers.get("Cookie")


@pytest.mark.parametrize("where", ["name", "path", "subdomain", "parent"])
def test_a_site_keeps_as_many_as_in_browsers(jar: BoundedCookieJar, where: str) -> None:
    """The cookies of a site are limited; the oldest are dropped, and those of other sites stay."""
    answered(jar, "example.org", "session=1")
    for number in range(400):
        host = f"h{number}.evil.test" if where == "subdomain" else "www.evil.test"
        how = {"path": f"; Path=/{number}", "parent": "; Domain=.evil.test"}.get(where, "")
        answered(jar, host, f"c{number if where != 'path' else ''}={number}{how}")
    kept = sorted(int(cookie.value or "") for cookie in jar if cookie.domain != "example.org")
    assert kept == list(range(400 - MOST_OF_SITE, 400))
    assert sent(jar, "example.org") == "session=1"


def test_many_sites_together_have_a_limit_too(jar: BoundedCookieJar, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cookies of all sites together are limited too."""
    monkeypatch.setattr(cookie_jar, "MOST", 300)
    for number in range(500):
        answered(jar, f"evil{number}.test", "a=1")
    assert len(jar) == 300
    assert sent(jar, "evil199.test") is None
    assert sent(jar, "evil200.test") == "a=1"


def test_addresses_are_sites(jar: BoundedCookieJar) -> None:
    """IP addresses are separate sites, so their cookies do not displace each other."""
    answered(jar, "10.0.0.1", "a=1")
    answered(jar, "10.1.0.1", *(f"c{number}=1" for number in range(500)))
    assert sent(jar, "10.0.0.1") == "a=1"
    assert len(jar) == MOST_OF_SITE + 1


def test_a_cookie_that_is_too_large_is_refused(jar: BoundedCookieJar) -> None:
    """A cookie above 4096 bytes is refused; other cookies of the answer are stored."""
    value = "v" * (MOST_BYTES - len("large" + "example.org" + "/"))
    answered(jar, "example.org", f"large={value}", f"larger={value}", "small=1", f"path=1; Path=/{'p' * 5000}")
    assert {cookie.name for cookie in jar} == {"large", "small"}


def test_a_cookie_that_is_set_again_is_young(jar: BoundedCookieJar) -> None:
    """A cookie that each answer sets again is not displaced by many others."""
    for number in range(500):
        answered(jar, "example.org", "session=1", f"c{number}=1")
    assert "session" in jar
    assert len(jar) == MOST_OF_SITE


def test_expired_cookies_are_dropped_first(jar: BoundedCookieJar) -> None:
    """Cookies that were deleted, cleared or have expired do not displace other cookies."""
    answered(jar, "example.org", "oldest=1")
    for number in range(500):
        answered(jar, "example.org", f"c{number}=1")
        answered(jar, "example.org", f"c{number}=; Max-Age=0")
    assert sent(jar, "example.org") == "oldest=1"
    answered(jar, "other.test", *(f"c{number}=1" for number in range(100)))
    jar.clear("other.test")
    answered(jar, "other.test", *(f"c{number}=1" for number in range(MOST_OF_SITE)))
    assert len(jar) == MOST_OF_SITE + 1
    jar.clear()
    assert jar._ages == {}


def test_cookies_of_the_user_stay(jar: BoundedCookieJar) -> None:
    """Cookies that the user sets stay, in any size and number, as in requests."""
    jar.update({f"mine{number}": "v" * 5000 for number in range(500)})
    for number in range(500):
        answered(jar, "example.org", f"c{number}=1")
    assert len(jar) == 500 + MOST_OF_SITE
    assert jar["mine0"] == "v" * 5000


def test_copies_keep_cookies(jar: BoundedCookieJar) -> None:
    """Copies keep their cookies as in requests, and an unpickled jar keeps its limits."""
    answered(jar, "example.org", *(f"c{number}=1" for number in range(MOST_OF_SITE)))
    restored = pickle.loads(pickle.dumps(jar))
    for each in (restored, copy.deepcopy(jar), jar.copy()):
        assert dict(each) == dict(jar)
    answered(restored, "example.org", "late=1")
    assert len(restored) == MOST_OF_SITE
    assert "c0" not in restored


def test_a_session_keeps_to_that(serve: Serve) -> None:
    """A session has a limited jar of requests' class; the user's own jar is unchanged; `http.get` keeps no cookies."""
    session = ResilientSession()
    server = serve(*[reply(200, b"", *(f"Set-Cookie: c{n}-{m}=1" for m in range(90))) for n in range(4)])
    for _ in range(3):
        session.get(server.url)
    assert isinstance(session.cookies, RequestsCookieJar)
    assert len(session.cookies) == MOST_OF_SITE
    assert len(pickle.loads(pickle.dumps(session)).cookies) == MOST_OF_SITE
    session.cookies = own = RequestsCookieJar()
    session.get(server.url)
    assert session.cookies is own
    assert len(own) == 90


def test_calls_without_a_session_send_no_cookie_of_the_last(serve: Serve) -> None:
    """Each call without a session has a cookie jar of its own."""
    server = serve(reply(200, b"", "Set-Cookie: a=1"), reply(200))
    http.get(server.url)
    http.get(server.url)
    assert b"Cookie" not in server.requests[-1]
