"""Requests that are prepared by the fast path equal those that requests prepares."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
import requests.models
import requests.sessions
import requests.utils
from hypothesis import given
from hypothesis import strategies as st
from requests.auth import HTTPDigestAuth
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from core.http import ResilientSession, process
from core.http.testing import OutboundHTTP
from core.http.wire import fast_preparation

URL = "https://example.org/data.json"
NETRC = "machine example.org login me password secret\n"


def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authenticate as OAuth libraries do, with a header and a response hook."""
    request.headers["Authorization"] = f"Signed {request.method} {request.url} {request.body!r}"
    request.register_hook("response", look)
    return request


def look(response: requests.Response, **_: object) -> None:
    """Do nothing, as a hook."""


def look_again(response: requests.Response, **_: object) -> None:
    """Do nothing, as another hook."""


def session_of(kind: type[requests.Session], settings: dict[str, Any]) -> requests.Session:
    session = kind()
    for name, value in settings.items():
        setattr(session, name, value() if callable(value) and name == "cookies" else value)
    return session


def cookies_of(jar: Any) -> list[dict[str, Any]]:
    return [vars(cookie) for cookie in jar]


def prepared_by(session: requests.Session, arguments: dict[str, Any]) -> Any:
    """Return all parts of the request that a session prepares, or the class of its error."""
    try:
        prepared = session.prepare_request(requests.Request(**arguments))
    except Exception as exc:  # noqa: BLE001 - any error has to be the same
        return type(exc)
    seen = vars(prepared)
    jar = seen.pop("_cookies")
    headers = seen.pop("headers")
    return seen, type(headers), [*headers.items()], [*headers.lower_items()], type(jar), cookies_of(jar)


def settings_by(session: requests.Session, arguments: dict[str, Any]) -> Any:
    proxies = arguments["proxies"]
    given = {**arguments, "proxies": proxies if proxies is None else dict(proxies)}
    try:
        merged = session.merge_environment_settings(**given)
    except Exception as exc:  # noqa: BLE001 - as above
        return type(exc)
    return merged, type(merged["proxies"]), list(merged["proxies"] or ()), given["proxies"]


texts = st.text(max_size=8)
hosts = st.sampled_from(
    [
        *("example.org", "EXAMPLE.org", "sub.example.org", "my_service", "127.0.0.1", "[::1]", "[fe80::1%25eth0]"),
        *("münchen.de", "example.org.", "*.example.org", ".example.org", "a..b", "-a.org", "xn--nxasmq6b", "", "a b"),
    ]
)
ports = st.sampled_from(["", "", ":80", ":443", ":8080", ":0", ":080", ":65535", ":65536", ":x", ":"])
userinfos = st.sampled_from(["", "", "", "me@", "me:secret@", ":@", "m%65:s%20@"])
paths = st.sampled_from(
    [
        *("", "", "/", "/data.json", "/a/b/", "/a//b", "//", "/./a", "/../a", "/.well-known", "/a%20b", "/a%7Eb"),
        *("/a%zz", "/ä", "/a b", "/a;p=1", "/a@b:c", "/(a)*'", '/"', "/[x]", "/a\\b", "/a|b", "/a\tb", "/a\n"),
    ]
)
queries = st.sampled_from(
    [
        *("", "", "?", "?a=1", "?a=b%20c&d", "?a=%7e", "?ä=ö", "?a=[1]", "?a=/b?c", "?a b", "?'", '?"', "#part"),
        *("?a=1#", "?a#b?"),
    ]
)
schemes = st.sampled_from(["http://", "https://", "https://", "HTTP://", "hTTps://", "ftp://", "http:", "", " http://"])
urls = st.builds("".join, st.tuples(schemes, userinfos, hosts, ports, paths, queries)) | texts
names = texts | st.sampled_from(
    ["Accept", "accept", "X-A", "x_a", "Host", "Cookie", "Content-Length", "User-Agent", "ACCEPT-encoding"]
)
values = texts | st.sampled_from(
    ["a", "", "text/html; q=0.5", "ä", " a", "a ", "a\tb", "a\r\nb", "\x7f", b"bytes", None, 1]
)
headers = st.none() | st.dictionaries(names | st.just(b"X-Bytes"), values, max_size=3)
scalars = texts | st.integers() | st.booleans() | st.none() | st.floats()
pairs = st.dictionaries(texts, scalars | st.lists(texts, max_size=2), max_size=3)
params = pairs | texts | st.none() | st.binary(max_size=4) | st.just([("a", "1"), ("a", "2")])
bodies = pairs | texts | st.none() | st.binary(max_size=8) | st.just([("a", "1")]) | st.just(())
json = st.none() | st.recursive(st.booleans() | st.floats() | texts, lambda inner: st.lists(inner, max_size=2))
auths = st.sampled_from([None, None, ("me", "secret"), ("", ""), ("mé", b"x"), "", sign, HTTPDigestAuth("a", "b")])
hooks = st.sampled_from(
    [None, None, {}, {"response": look}, {"response": [look, look_again]}, {"response": []}, {"request": look}]
)
own_hooks = st.sampled_from([{"response": []}, {"response": [look_again]}, {}, None, {"response": look}])
cookies = st.none() | st.dictionaries(texts.filter(bool), texts, max_size=2)


def jar(domain: str) -> Callable[[], RequestsCookieJar]:
    def make() -> RequestsCookieJar:
        made = RequestsCookieJar()
        made.set("token", "1", domain=domain)
        return made

    return make


sessions = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.builds(CaseInsensitiveDict, st.dictionaries(names, values, max_size=3)) | st.just({"A": "b"}),
        "params": pairs,
        "auth": auths,
        "hooks": own_hooks,
        "trust_env": st.booleans(),
        "cookies": st.sampled_from([jar("example.org"), jar("other.test"), dict]),
        "verify": st.sampled_from([True, False, "/a/bundle", None]),
        "cert": st.sampled_from([None, "/cert", ("/cert", "/key")]),
        "stream": st.booleans() | st.none(),
        "proxies": st.sampled_from([{}, {"http": "http://p:1"}, {"no_proxy": "example.org"}, None]),
    },
)
arguments = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "get", "POST", "Put", "HEAD", "DELETE", "ßx", "", None]),
        "url": urls | st.none() | st.just(b"http://example.org/"),
    },
    optional={
        "headers": headers,
        "params": params,
        "data": bodies,
        "json": json,
        "auth": auths,
        "hooks": hooks,
        "cookies": cookies,
        "files": st.sampled_from([None, {}]),
    },
)
plain_arguments = st.fixed_dictionaries(
    {"method": st.sampled_from(["GET", "post"]), "url": st.sampled_from([URL, f"{URL}?a=1", "http://127.0.0.1:8000/"])},
    optional={
        "headers": st.dictionaries(
            st.sampled_from(["Accept", "accept", "X-A", "cookie"]), st.sampled_from(["a", "b c", ""])
        ),
        "params": st.dictionaries(texts, texts | st.integers(), max_size=3),
        "data": bodies,
        "json": json,
        "auth": auths,
        "hooks": hooks,
        "cookies": cookies,
    },
)
merged = st.fixed_dictionaries(
    {
        "url": urls,
        "proxies": st.sampled_from([{}, {}, {}, {"https": "http://p:2"}, {"no_proxy": "*"}, {"http": None}, None]),
        "stream": st.sampled_from([None, True, False]),
        "verify": st.sampled_from([None, True, False, "/b"]),
        "cert": st.sampled_from([None, "/c", ("/c", "/k")]),
    }
)
variables = st.dictionaries(
    st.sampled_from(
        [
            *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
            *("NO_PROXY", "Http_Proxy", "ftp_proxy", "REQUEST_METHOD", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OTHER"),
        ]
    ),
    st.sampled_from(["", "http://p.test:3128", "socks5://p", "example.org", ".example.org", "*", "127.0.0.0/8", "/b"]),
    max_size=4,
)


@pytest.fixture(autouse=True)
def default_user_agent(outbound_http: OutboundHTTP) -> None:
    """Use the default User-Agent, without the settings of this site."""
    process.use(lambda: process.ProcessRegistry(observers=()))


@pytest.fixture
def homes(tmp_path: Path) -> list[dict[str, str]]:
    """Return values for HOME and NETRC: with a netrc, without one, with an invalid one and with a missing one."""
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / ".netrc").write_text(NETRC)
    (empty / "broken").write_text("machine example.org login")
    homes = [{"HOME": str(empty)}, {"HOME": str(full)}, {}]
    files = [str(full / ".netrc"), str(empty / "broken"), str(empty / "missing"), ""]
    return [*homes, *({"HOME": str(empty), "NETRC": file} for file in files)]


@given(st.data())
def test_the_fast_path_prepares_the_same_request(homes: list[dict[str, str]], data: st.DataObject) -> None:
    """Every field equals that of requests, for any request and any change of the environment between two."""
    settings = data.draw(sessions)
    requests_own, ours = (session_of(kind, settings) for kind in (requests.Session, ResilientSession))
    for _ in range(2):
        environment = {**data.draw(variables), **data.draw(st.sampled_from(homes))}
        asked, call = data.draw(arguments | plain_arguments), data.draw(merged)
        with mock.patch.dict(os.environ, environment, clear=True):
            assert prepared_by(ours, asked) == prepared_by(requests_own, asked)
            assert settings_by(ours, call) == settings_by(requests_own, call)


@pytest.mark.parametrize("value", [["1", "2"], None, True, b"x", 1.5], ids=repr)
def test_parameters_of_any_type_are_encoded_as_in_requests(value: Any) -> None:
    """Lists repeat the name, and None omits it."""
    asked = {"method": "GET", "url": URL, "params": {"page": 2, "a": value}}
    assert prepared_by(ResilientSession(), asked) == prepared_by(requests.Session(), asked)


def test_the_credentials_of_a_session_win_over_netrc(homes: list[dict[str, str]]) -> None:
    """As in requests, a netrc applies only if neither the request nor the session has credentials."""
    settings, asked = {"auth": ("mine", "secret")}, {"method": "GET", "url": URL}
    with mock.patch.dict(os.environ, homes[1], clear=True):
        ours, requests_own = (
            prepared_by(session_of(kind, settings), asked) for kind in (ResilientSession, requests.Session)
        )
        assert ours == requests_own
        assert ours != prepared_by(ResilientSession(), asked)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"params": {"page": 2, "q": "a b"}},
        {"headers": {"Accept": "application/json"}},
        {"auth": ("me", "secret")},
        {"hooks": {"response": look}},
        {"cookies": {"a": "b"}},
        {"method": "POST", "json": {"a": 1}},
        {"method": "POST", "data": {"a": "1"}},
    ],
)
def test_usual_requests_are_plain(arguments: dict[str, Any]) -> None:
    """Usual requests to APIs take the fast path."""
    request = requests.Request(**{"method": "GET", "url": URL, **arguments})
    assert fast_preparation.prepare(ResilientSession(), request) is not None


@pytest.mark.parametrize(
    "body",
    [{"data": io.BytesIO(b"x")}, {"data": iter([b"x"])}, {"files": {"name": b"x"}}],
    ids=["file", "stream", "form"],
)
def test_files_and_streams_are_left_to_requests(body: dict[str, Any]) -> None:
    """Bodies that are read while they are sent are prepared by requests, which records their position."""
    assert fast_preparation.prepare(ResilientSession(), requests.Request("POST", URL, **body)) is None


@pytest.fixture(
    params=[
        (requests.sessions, "get_environ_proxies", lambda *_, **__: {"https": "http://patched"}),
        (requests.utils, "should_bypass_proxies", lambda *_, **__: True),
        (requests.utils, "getproxies", lambda: {"https": "http://patched"}),
        (requests.utils, "proxy_bypass", lambda _: True),
        (requests.sessions, "merge_setting", lambda *_, **__: "patched"),
        (requests.Session, "merge_environment_settings", lambda *_, **__: {"proxies": {}, "patched": True}),
    ],
    ids=lambda param: param[1],
)
def patched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    settings_by(ResilientSession(), {"url": URL, "proxies": {}, "stream": None, "verify": None, "cert": None})
    monkeypatch.setattr(*request.param)


@pytest.mark.usefixtures("patched")
def test_patched_settings_of_the_environment_are_obeyed() -> None:
    """A function that replaces requests' choice of proxies is called."""
    asked = {"url": URL, "proxies": {}, "stream": None, "verify": None, "cert": None}
    assert settings_by(ResilientSession(), asked) == settings_by(requests.Session(), asked)
    assert settings_by(ResilientSession(), asked)[0]["proxies"] != {"https": "http://proxy.test"}


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (requests.sessions, "get_netrc_auth"),
        (requests.sessions, "merge_setting"),
        (requests.sessions, "merge_cookies"),
        (requests.Session, "prepare_request"),
        (requests.PreparedRequest, "prepare"),
        *(
            (requests.PreparedRequest, f"prepare_{part}")
            for part in ("url", "headers", "cookies", "body", "auth", "hooks")
        ),
        (requests.models, "requote_uri"),
        (requests.models, "get_cookie_header"),
    ],
)
def test_patched_preparation_is_obeyed(owner: Any, name: str) -> None:
    """A function that replaces a part of requests' preparation is called."""
    session = ResilientSession()
    with mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name)) as replaced:
        session.prepare_request(requests.Request("GET", URL))
    assert replaced.called


def test_another_base_of_a_subclass_is_obeyed() -> None:
    """A base class between ours and that of requests, as in caching libraries, gets the calls."""

    class Between(requests.Session):
        def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
            prepared = super().prepare_request(request)
            prepared.headers["X-Between"] = "1"
            return prepared

        def merge_environment_settings(self, *args: Any) -> Any:
            return {**super().merge_environment_settings(*args), "cert": "/between"}

    class Session(ResilientSession, Between):
        pass

    assert Session().prepare_request(requests.Request("GET", URL)).headers["X-Between"] == "1"
    assert Session().merge_environment_settings(URL, {}, None, None, None)["cert"] == "/between"


def test_a_netrc_file_is_found_as_soon_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc that is created or removed while the process runs applies to the next request."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    session, request = ResilientSession(), requests.Request("GET", URL)
    assert "Authorization" not in session.prepare_request(request).headers
    (tmp_path / "_netrc").write_text(NETRC)
    assert "Authorization" in session.prepare_request(request).headers
    (tmp_path / "_netrc").unlink()
    assert "Authorization" not in session.prepare_request(request).headers


def test_a_proxy_of_any_scheme_applies_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is seen too if it is only the name or value of a variable that other schemes use."""
    session = ResilientSession()

    def proxies() -> dict[str, str]:
        return {**session.merge_environment_settings("ftp://example.org/", {}, None, None, None)["proxies"]}

    monkeypatch.setenv("OTHER", "http://proxy.test")
    assert proxies() == {}
    monkeypatch.delenv("OTHER")
    monkeypatch.setenv("Ftp_Proxy", "http://proxy.test")
    assert proxies()["ftp"] == "http://proxy.test"
    monkeypatch.setenv("Ftp_Proxy", "http://other.test")
    assert proxies()["ftp"] == "http://other.test"


def test_proxies_are_a_mapping_of_the_callers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes to the proxies of one call do not affect the next."""
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    session = ResilientSession()
    merged = session.merge_environment_settings(URL, {}, None, None, None)
    assert type(merged["proxies"]) is OrderedDict
    merged["proxies"].clear()
    assert session.merge_environment_settings(URL, {}, None, None, None)["proxies"]["https"] == "http://proxy.test"
