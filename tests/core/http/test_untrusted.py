"""ResilientSession(untrusted=True): URLs that users submit."""

from __future__ import annotations

import copy
import pickle
import socket
from typing import Any

import pytest
import requests
from responses import RequestsMock

from core.http import BlockedAddress, Policy, ResilientSession
from core.http.dial import DeadlineSocket
from core.http.testing import OutboundHTTP

URL = "https://users.example/page"


@pytest.fixture
def session() -> ResilientSession:
    return ResilientSession(untrusted=True)


class Names:
    """Stands in for the resolver: answers a name with what is next, and notes what is dialled."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked: list[str] = []
        self.dialled: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    def connect(self, _: socket.socket, address: tuple[str, int]) -> None:
        self.dialled.append(address[0])
        raise ConnectionRefusedError


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    monkeypatch.setattr(
        DeadlineSocket,
        "connect",
        lambda *args: names.connect(*args),  # noqa: PLW0108 - a bound method would not get the socket
    )
    return names


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["169.254.169.254"]])
def test_private_addresses_are_not_dialled(session: ResilientSession, names: Names, addresses: list[str]) -> None:
    """A name that leads inside is refused at once, without a connection and without a retry."""
    names.answers = [addresses]
    with pytest.raises(BlockedAddress):
        session.get(URL)
    assert names.dialled == []
    assert names.asked == ["users.example"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
    ],
)
def test_every_way_to_write_an_inner_address_is_refused(session: ResilientSession, host: str) -> None:
    """Decimal, octal, hexadecimal and short forms are what they resolve to."""
    with pytest.raises(BlockedAddress):
        session.get(f"http://{host}/")


def test_the_address_that_was_checked_is_the_one_dialled(
    session: ResilientSession, names: Names, outbound_http: OutboundHTTP
) -> None:
    """A name that answers differently the second time gains nothing: each attempt dials what it checked."""
    names.answers = [["8.8.8.8"], ["10.0.0.1"]]
    with pytest.raises(BlockedAddress):
        session.get(URL)
    assert names.dialled == ["8.8.8.8"]
    assert outbound_http.clock.waits == [1]


def test_the_refusal_tells_nothing_about_what_is_there(session: ResilientSession, names: Names) -> None:
    """Refused is refused: the text is the same whatever the address is, and names none."""
    texts = set()
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254"):
        names.answers = [[address]]
        with pytest.raises(BlockedAddress) as raised:
            session.get(URL)
        texts.add(str(raised.value))
    assert len(texts) == 1
    assert not any(character.isdigit() for character in texts.pop())


@pytest.mark.parametrize("url", ["http://users.example:22/", "https://users.example:6379/", "http://users.example:25/"])
def test_unusual_ports_are_refused(session: ResilientSession, names: Names, url: str) -> None:
    """Only 80, 443, 8080 and 8443: no mail, no databases."""
    with pytest.raises(BlockedAddress):
        session.get(url)
    assert names.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://users.example/", "gopher://users.example/"])
def test_other_schemes_are_refused(session: ResilientSession, url: str) -> None:
    """Only http and https."""
    with pytest.raises((requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)):
        session.get(url)


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
def test_the_usual_ports_are_reached(session: ResilientSession, responses: RequestsMock, port: int) -> None:
    """A server on a usual port answers."""
    responses.get(f"http://users.example:{port}/", body="fine")
    assert session.get(f"http://users.example:{port}/").text == "fine"


def test_redirects_are_checked_like_urls(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect to a port that is out of reach is refused."""
    responses.get(URL, status=302, headers={"Location": "https://users.example:6379/"})
    with pytest.raises(BlockedAddress):
        session.get(URL)


def test_redirects_to_inner_addresses_are_refused(
    session: ResilientSession, names: Names, responses: RequestsMock
) -> None:
    """A redirect is resolved and checked like the first URL."""
    responses.get(URL, status=302, headers={"Location": "http://inner.example/"})
    responses.add_passthru("http://inner.example/")
    names.answers = [["10.0.0.1"]]
    with pytest.raises(requests.RequestException):
        session.get(URL)
    assert names.dialled == []


def test_redirects_from_https_to_http_are_refused(session: ResilientSession, responses: RequestsMock) -> None:
    """What was asked for under protection is not fetched without."""
    responses.get(URL, status=302, headers={"Location": "http://users.example/"})
    with pytest.raises(BlockedAddress, match="from https to http"):
        session.get(URL)


def test_at_most_five_redirects_are_followed(session: ResilientSession, responses: RequestsMock) -> None:
    """A chain ends after five."""
    responses.get(URL, status=302, headers={"Location": URL})
    with pytest.raises(requests.TooManyRedirects):
        session.get(URL)
    assert len(responses.calls) == 6


def test_credentials_stay_with_their_origin(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect to another origin carries no header that may be a credential, whatever its name."""
    responses.get(URL, status=302, headers={"Location": "https://elsewhere.example/"})
    responses.get("https://elsewhere.example/", body="fine")
    headers = {
        "Authorization": "Bearer s3cret",
        "X-Api-Key": "s3cret",
        "PRIVATE-TOKEN": "s3cret",
        "Accept": "text/html",
    }
    session.get(URL, headers=headers, cookies={"session": "s3cret"})
    first, second = responses.calls
    assert first.request.headers["X-Api-Key"] == "s3cret"
    assert "s3cret" not in str(dict(second.request.headers))
    assert second.request.headers["Accept"] == "text/html"


def test_credentials_survive_a_redirect_within_the_origin(session: ResilientSession, responses: RequestsMock) -> None:
    """A redirect within the origin keeps the caller's headers."""
    responses.get(URL, status=302, headers={"Location": "/other"})
    responses.get("https://users.example/other", body="fine")
    session.get(URL, headers={"X-Api-Key": "s3cret"})
    assert responses.calls[1].request.headers["X-Api-Key"] == "s3cret"


def test_no_cookie_is_kept(session: ResilientSession, responses: RequestsMock) -> None:
    """What a server sets comes back neither in a redirect nor in the next call."""
    responses.get(URL, status=302, headers={"Location": "/other", "Set-Cookie": "id=1; Path=/"})
    responses.get("https://users.example/other", headers={"Set-Cookie": "id=2; Path=/"})
    session.get(URL)
    session.get("https://users.example/other")
    assert not list(session.cookies)
    assert ["Cookie" in call.request.headers for call in responses.calls] == [False, False, False]


def test_the_environment_is_left_alone(
    session: ResilientSession, responses: RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy that the environment names is used."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    responses.get(URL)
    session.get(URL)
    assert responses.calls[0].request.req_kwargs["proxies"] == {}  # type: ignore[attr-defined]  # noted by responses


@pytest.mark.parametrize("options", [{"verify": False}, {"proxies": {"https": "http://proxy.example:3128"}}])
def test_what_would_undo_the_protection_is_refused(session: ResilientSession, options: dict[str, Any]) -> None:
    """verify=False and proxies= are mistakes of the caller's: ValueError, for a call and for the session."""
    with pytest.raises(ValueError, match=next(iter(options))):
        session.get(URL, **options)
    for name, value in options.items():
        setattr(session, name, value)
    with pytest.raises(ValueError, match=next(iter(options))):
        session.get(URL)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_a_copy_is_as_careful(session: ResilientSession, clone: Any) -> None:
    """Copied and pickled sessions keep the protection."""
    with pytest.raises(BlockedAddress):
        clone(session).get("http://127.0.0.1/")


def test_a_trusted_session_reaches_what_it_is_told_to(httpserver: Any) -> None:
    """Without the switch nothing is refused: inner servers are a site's own business."""
    httpserver.expect_request("/").respond_with_data("fine")
    with ResilientSession(Policy(retries=0)) as session:
        assert session.get(httpserver.url_for("/")).text == "fine"
