"""The client: what is sent, to which server, and how each response is classified."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from responses import RequestsMock

from core.http import Policy, ResilientSession
from core.http.testing import OutboundHTTP
from package.jobs.refresh_one import sessions
from package.sources import client as client_module
from package.sources.client import Answer, Client
from package.sources.errors import (
    AskError,
    Gone,
    LeftAlone,
    NotModified,
    NotReady,
    TokenUnwelcome,
    Unreachable,
    Unusable,
)
from package.sources.server import Server

API = "https://pypi.test"
URL = f"{API}/thing"
SERVER = Server("PyPI", API)
SESSION = sessions().trusted


def client(known: Mapping[str, Any] | None = None, server: Server = SERVER, session: Any = SESSION) -> Client:
    return Client(session, server, known)


def ask(path: str = "thing", known: Mapping[str, Any] | None = None, **how: Any) -> Answer:
    """Send a request with a new client."""
    return client(known).get(path, **how)


def requested(responses: RequestsMock, position: int = -1) -> requests.PreparedRequest:
    return responses.calls[position].request


class TestRequest:
    """The requests that are sent."""

    @pytest.mark.parametrize(
        ("api", "path", "url"),
        [
            (API, "thing", URL),
            (API, "a/b?c=d", f"{API}/a/b?c=d"),
            (API, f"{API}/elsewhere/", f"{API}/elsewhere/"),
            (f"{API}/2.0", "thing", f"{API}/2.0/thing"),
            (f"{API}/2.0", f"{API}/2.0/thing?page=2", f"{API}/2.0/thing?page=2"),
        ],
    )
    def test_goes_below_the_address_of_the_api(self, responses: RequestsMock, api: str, path: str, url: str) -> None:
        """A path is resolved below the API; an absolute address is used as it is."""
        responses.get(url, json={})
        assert client(server=Server("PyPI", api)).get(path).url == url

    def test_has_parameters(self, responses: RequestsMock) -> None:
        """Parameters are part of the address whose validators are stored."""
        responses.get(URL, json={})
        assert ask(params={"page": 2, "q": "a b"}).url == f"{URL}?page=2&q=a+b"

    def test_says_what_it_wants(self, responses: RequestsMock) -> None:
        """Each server gets its own Accept and other headers."""
        responses.get(URL, json={})
        server = Server("GitHub", API, accept="application/vnd.github+json", headers={"X-GitHub-Api-Version": "1"})
        client(server=server).get("thing")
        headers = requested(responses).headers
        assert (headers["Accept"], headers["X-GitHub-Api-Version"]) == ("application/vnd.github+json", "1")
        assert "djangopackages" in headers["User-Agent"]

    @pytest.mark.parametrize(
        "path",
        [
            "https://evil.test/api/v4/thing",
            "//evil.test/api/v4/thing",
            "https://me:secret@pypi.test.evil.test/api/v4/thing#x",
            "http://pypi.test/git/api/v4/thing",
            "https://pypi.test:8443/git/api/v4/thing",
            "https://pypi.test:99999/other/root/api/v4/thing",
        ],
    )
    def test_does_not_go_to_another_server(self, responses: RequestsMock, path: str) -> None:
        """If a server names another scheme, name, port or path, the original origin is called."""
        url = f"{API}/git/api/v4/thing"
        responses.get(url, json={})
        assert client(server=Server("GitLab", f"{API}/git/api/v4")).get(path).url == url

    @pytest.mark.parametrize(
        "path",
        [
            "https://[::1/api/v4/thing",
            "https://:80/api/v4/thing",
            "ftp://pypi.test/git/api/v4/thing",
            "https://pypi.test/git/thing",
            "https://pypi.test/",
            "../../thing",
            "/git/api/v4/../thing",
            "/git/api/v4/%2e%2E/thing",
            "https://pypi.test/git/api/v4/a\\..\\..\\..\\thing",
            "https://pypi.test/git/api/v4/x/..",
        ],
    )
    def test_does_not_leave_its_api(self, responses: RequestsMock, path: str) -> None:
        """Addresses outside of the API are refused, so that the token is not sent there."""
        with pytest.raises(Unusable, match="not below its API"):
            client(server=Server("GitLab", f"{API}/git/api/v4", "secret")).get(path)
        assert not responses.calls


class TestAnswer:
    """The answers that are returned."""

    def test_is_json(self, responses: RequestsMock) -> None:
        """An answer has the JSON, status, headers and URL."""
        responses.get(URL, json={"a": 1}, headers={"X-Total": "5"})
        answer = ask()
        assert (answer.status, answer.data, answer.headers["x-total"], answer.next) == (200, {"a": 1}, "5", "")

    def test_may_be_a_list(self, responses: RequestsMock) -> None:
        """Where a list is expected, a list is fine and an object is not."""
        responses.get(URL, json=[1])
        assert ask(kind=list).data == [1]
        responses.replace("GET", URL, json={})
        with pytest.raises(Unusable, match="not a list"):
            ask(kind=list)

    @pytest.mark.parametrize(("status", "empty"), [(204, {204}), (204, (204, 409)), (409, (409,)), (404, {404, 409})])
    def test_may_be_that_there_is_nothing(self, responses: RequestsMock, status: int, empty: Any) -> None:
        """A status in `empty` means that there is no data."""
        responses.get(URL, status=status, body="out of order" if status != 204 else "")
        answer = ask(empty=empty)
        assert (answer.status, answer.data) == (status, None)

    def test_is_counted(self, responses: RequestsMock, outbound_http: OutboundHTTP) -> None:
        """Attempts and seconds, including waits, are counted over all requests of a client."""
        responses.get(URL, status=503)
        responses.get(URL, json={})
        responses.get(f"{API}/other", json={})
        one = client()
        one.get("thing")
        one.get("other")
        assert (one.attempts, one.seconds, one.status) == (3, 1.0, 200)

    def test_of_others_is_not_counted(self, responses: RequestsMock) -> None:
        """Requests of other threads are not counted."""

        def ask_meanwhile(_: object) -> tuple[int, dict[str, str], str]:
            thread = threading.Thread(target=lambda: ask("other"))
            thread.start()
            thread.join(10)
            return 200, {}, "{}"

        responses.add_callback("GET", URL, callback=ask_meanwhile)
        responses.get(f"{API}/other", status=503)
        responses.get(f"{API}/other", json={})
        one = client()
        one.get("thing")
        assert (one.attempts, one.status, one.reason) == (1, 200, "")


@dataclass
class Case:
    """A response and its expected error."""

    kind: type[AskError]
    reason: str
    again: bool
    reached: bool
    says: str
    answer: dict[str, Any]


def unusable(says: str, reason: str = "other", **answer: Any) -> Case:
    return Case(Unusable, reason, False, True, says, answer)


def unreachable(says: str, reason: str, again: bool, **answer: Any) -> Case:
    return Case(Unreachable, reason, again, False, says, answer)


def limited(**answer: Any) -> Case:
    return Case(LeftAlone, "http_429", False, True, f"limits our rate (HTTP {answer['status']})", answer)


def gone(status: int) -> Case:
    return Case(Gone, "gone", False, True, f"HTTP {status}", {"status": status})


EXHAUSTED = {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3600"}
CASES = {
    "202": Case(NotReady, "not_ready", True, True, "still working", {"status": 202, "json": {}}),
    "404": gone(404),
    "410": gone(410),
    "451": gone(451),
    "400": unusable("HTTP 400", status=400),
    "401": unusable("HTTP 401", status=401),
    "403": unusable("HTTP 403", status=403),
    "403 below the limit": unusable("HTTP 403", status=403, headers={**EXHAUSTED, "X-RateLimit-Remaining": "5"}),
    "403 at the limit": limited(status=403, headers=EXHAUSTED),
    "403 come back": limited(status=403, headers={"Retry-After": "99"}),
    "408": unreachable("HTTP 408", "timeout", True, status=408),
    "409": unusable("HTTP 409", status=409),
    "425": unreachable("HTTP 425", "other", True, status=425),
    "429": unreachable("limits our rate", "http_429", True, status=429),
    "429 come back": limited(status=429, headers={"Retry-After": "99"}),
    "500": unreachable("HTTP 500", "http_5xx", True, status=500),
    "501": unreachable("HTTP 501", "http_5xx", False, status=501),
    "502": unreachable("HTTP 502", "http_5xx", True, status=502),
    "503": unreachable("HTTP 503", "http_5xx", True, status=503),
    "504": unreachable("HTTP 504", "http_5xx", True, status=504),
    "505": unreachable("HTTP 505", "http_5xx", False, status=505),
    "201": unusable("HTTP 201", status=201, json={}),
    "300": unusable("HTTP 300", status=300, json={}),
    "304 that nobody asked for": unusable("HTTP 304", status=304),
    "empty": unusable("not JSON", body=""),
    "a page": unusable("not JSON", body="<h1>Please wait</h1>"),
    "cut off": unusable("not JSON", body='{"a": ['),
    "nested too deeply": unusable("not JSON", body="[" * 100_000),
    "a number too long": unusable("not JSON", body=f'{{"a": {"9" * 5000}}}'),
    "a list": unusable("not an object", json=[]),
    "null": unusable("not an object", body="null"),
    "a loop": unusable("redirects in a loop", status=302, headers={"Location": URL}),
    "refused": unreachable("ConnectionError", "connect", True, body=requests.ConnectionError("refused")),
    "reset": unreachable("ConnectionError", "connect", True, body=requests.ConnectionError(ConnectionResetError(104))),
    "slow": unreachable("ReadTimeout", "timeout", True, body=requests.ReadTimeout("slow")),
    "slow to connect": unreachable("ConnectTimeout", "timeout", True, body=requests.ConnectTimeout("slow")),
    "bad certificate": unreachable("SSLError", "tls", False, body=requests.exceptions.SSLError("expired")),
    "no such name": unreachable(
        "ConnectionError", "dns", False, body=requests.ConnectionError(socket.gaierror(socket.EAI_NONAME, "unknown"))
    ),
    "no name server": unreachable(
        "ConnectionError", "dns", True, body=requests.ConnectionError(socket.gaierror(socket.EAI_AGAIN, "later"))
    ),
    "truncated": unreachable(
        "ChunkedEncodingError", "truncated", True, body=requests.exceptions.ChunkedEncodingError("IncompleteRead")
    ),
    "leads nowhere": unreachable("InvalidURL", "other", False, status=302, headers={"Location": "https://[::1"}),
}


class TestClassification:
    """Each response, and each failure, has its class of error."""

    @pytest.mark.parametrize("name", CASES)
    def test_of_an_answer(self, responses: RequestsMock, name: str) -> None:
        """Each response has its error class, its reason for the ledger, and whether to try again soon."""
        case = CASES[name]
        responses.get(URL, **case.answer)
        with pytest.raises(AskError) as caught:
            ask()
        error = caught.value
        assert type(error) is case.kind
        assert (error.reason, error.again, error.reached) == (case.reason, case.again, case.reached)
        assert case.says in str(error)
        assert "PyPI" in str(error)

    def test_of_an_answer_that_is_too_large(self, responses: RequestsMock) -> None:
        """A response that is too large is not read to its end, and not tried again."""
        responses.get(URL, json={"a": "b" * 100})
        with (
            ResilientSession(Policy(max_response_bytes=50)) as small,
            pytest.raises(Unreachable, match="ResponseTooLarge") as caught,
        ):
            client(session=small).get("thing")
        assert (caught.value.reason, caught.value.again) == ("too_large", False)

    def test_of_json_that_has_too_many_nodes(self, responses: RequestsMock) -> None:
        """JSON with too many nodes is refused before it is parsed, without a traceback."""
        responses.get(URL, json={"a": [[], [], []]})
        with (
            ResilientSession(Policy(max_json_nodes=3)) as small,
            pytest.raises(Unusable, match=r"PyPI sent too large an answer: .*max_json_nodes=3") as caught,
        ):
            client(session=small).get("thing")
        assert (caught.value.reason, caught.value.again) == ("too_large", False)

    def test_of_an_address_that_is_not_public(self) -> None:
        """A user's server must have a public address."""
        with (
            ResilientSession(untrusted=True) as session,
            pytest.raises(Unreachable, match="BlockedAddress") as caught,
        ):
            client(server=Server("It", "http://127.0.0.1"), session=session).get("thing")
        assert (caught.value.reason, caught.value.again) == ("blocked", False)

    def test_of_a_call_that_took_too_long(self, responses: RequestsMock, outbound_http: OutboundHTTP) -> None:
        """A call that exceeded its deadline may be tried again."""

        def slow(_: object) -> Any:
            outbound_http.clock.advance(60)
            raise requests.ReadTimeout("slow")

        responses.add_callback("GET", URL, callback=slow)
        with pytest.raises(Unreachable, match="DeadlineExceeded") as caught:
            ask()
        assert (caught.value.reason, caught.value.again) == ("timeout", True)

    def test_of_a_call_that_there_was_no_time_for(self, responses: RequestsMock) -> None:
        """If no time is left, nothing is sent, and the error names no time."""
        with SESSION.within(0), pytest.raises(LeftAlone, match="PyPI was not asked: no time was left") as caught:
            ask()
        assert not responses.calls
        assert (caught.value.reason, caught.value.retry_at) == ("deadline_exceeded", None)

    def test_of_a_server_that_is_down(self, responses: RequestsMock) -> None:
        """While the breaker is open nothing is sent, and the error says until when."""
        responses.get(URL, status=503)
        for _ in range(3):
            with pytest.raises(Unreachable):
                ask()
        sent = len(responses.calls)
        with pytest.raises(LeftAlone, match=r"PyPI is down; nothing is sent before \d\d:\d\d:\d\d UTC") as caught:
            ask()
        assert len(responses.calls) == sent
        assert (caught.value.reason, caught.value.again) == ("breaker_open", False)
        assert timedelta(0) < caught.value.retry_at - datetime.now(UTC) <= timedelta(seconds=15)

    def test_of_a_server_that_limits_our_rate(self, responses: RequestsMock) -> None:
        """A Retry-After longer than a call may wait also applies to the next call."""
        responses.get(URL, status=429, headers={"Retry-After": "300"})
        with pytest.raises(LeftAlone, match="HTTP 429") as first:
            ask()
        assert timedelta(seconds=290) < first.value.retry_at - datetime.now(UTC) <= timedelta(seconds=300)
        with pytest.raises(LeftAlone, match="PyPI limits our rate; nothing is sent before") as caught:
            ask()
        assert len(responses.calls) == 1
        assert caught.value.reason == "rate_limited"
        assert timedelta(seconds=290) < caught.value.retry_at - datetime.now(UTC) <= timedelta(seconds=300)

    def test_goes_by_the_last_call(self, responses: RequestsMock) -> None:
        """A failure of an earlier request does not affect the classification of the next one."""
        responses.get(f"{API}/broken", status=501)
        responses.get(URL, status=400)
        one = client()
        with pytest.raises(Unreachable):
            one.get("broken")
        with pytest.raises(Unusable) as caught:
            one.get("thing")
        assert (caught.value.reason, one.status, one.reason) == ("other", 400, "")

    def test_works_with_any_session(self, responses: RequestsMock) -> None:
        """Responses of a plain requests session are classified the same."""
        responses.get(URL, status=429)
        with requests.Session() as plain, pytest.raises(Unreachable, match="HTTP 429") as caught:
            client(session=plain).get("thing")
        assert caught.value.reason == "http_429"


class TestSecrets:
    """Tokens and passwords reach the server that they are for, and nobody else."""

    TOKEN = "s3cret"
    WITH_TOKEN = Server("PyPI", API, TOKEN)

    @pytest.fixture(autouse=True)
    def _netrc(self, netrc: None) -> None:
        """Create a netrc with passwords for all servers."""

    def test_the_token_is_sent(self, responses: RequestsMock) -> None:
        """The token is sent to its own server, with every request."""
        responses.get(URL, json={})
        client(server=self.WITH_TOKEN).get("thing")
        assert requested(responses).headers["Authorization"] == f"Bearer {self.TOKEN}"

    def test_nobodys_netrc_is_used(self, responses: RequestsMock) -> None:
        """Without a token, no credentials are sent, even if netrc has some for that server."""
        responses.get(URL, json={})
        ask()
        assert "Authorization" not in requested(responses).headers

    @pytest.mark.parametrize(
        "location",
        [
            "https://evil.test/",
            "https://pypi.test.evil.test/",
            "http://pypi.test/thing",
            "https://pypi.test:8443/thing",
        ],
    )
    @pytest.mark.parametrize("server", [SERVER, WITH_TOKEN], ids=["without", "with"])
    def test_a_redirect_to_another_server_gets_none(
        self, responses: RequestsMock, location: str, server: Server
    ) -> None:
        """After a redirect to another server, neither the token nor a netrc password is sent."""
        responses.get(URL, status=302, headers={"Location": location})
        responses.get(location, json={})
        client(server=server).get("thing")
        assert requested(responses).url == location
        assert "Authorization" not in requested(responses).headers

    @pytest.mark.parametrize(
        ("server", "sent"), [(SERVER, None), (WITH_TOKEN, f"Bearer {TOKEN}")], ids=["without", "with"]
    )
    def test_a_redirect_within_the_server_keeps_what_there_was(
        self, responses: RequestsMock, server: Server, sent: str | None
    ) -> None:
        """After a redirect within the server, the token is still sent."""
        responses.get(URL, status=301, headers={"Location": f"{API}/Thing"})
        responses.get(f"{API}/Thing", json={})
        client(server=server).get("thing")
        assert requested(responses).headers.get("Authorization") == sent

    def test_the_password_of_an_address_is_sent(self, responses: RequestsMock) -> None:
        """A password in the address of the API is sent: https://user:password@host."""
        responses.get("https://user:password@pypi.test/thing", json={})
        client(server=Server("PyPI", "https://user:password@pypi.test")).get("thing")
        assert requested(responses).headers.get("Authorization") == "Basic dXNlcjpwYXNzd29yZA=="

    @pytest.mark.parametrize("answer", [{"status": 401}, {"status": 503}, {"body": requests.ConnectionError("s3cret")}])
    def test_no_error_repeats_them(self, responses: RequestsMock, answer: dict[str, Any]) -> None:
        """No error contains a token or a password."""
        server = Server("PyPI", "https://user:s3cret@pypi.test", "s3cret")
        responses.get("https://user:s3cret@pypi.test/thing", **answer)
        with pytest.raises(AskError) as caught:
            client(server=server).get("thing", {"key": "s3cret"})
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in repr(server).replace(server.api, "")

    def test_none_is_kept_with_the_validators(self, responses: RequestsMock) -> None:
        """Addresses in the stored validators contain no password."""
        responses.get("https://user:s3cret@pypi.test/thing", json={}, headers={"ETag": '"1"'})
        one = client(server=Server("PyPI", "https://user:s3cret@pypi.test"))
        one.get("thing")
        assert "s3cret" not in str(one.validators)


class TestConditions:
    """Unchanged data is not transferred again."""

    @staticmethod
    def known_after(responses: RequestsMock, **headers: str) -> dict[str, Any]:
        """Send a request; return the validators for the next one."""
        responses.get(URL, json={}, headers={name.replace("_", "-"): value for name, value in headers.items()})
        one = client()
        one.get("thing")
        return one.validators

    @pytest.mark.parametrize(
        ("answered", "asks"),
        [
            ({"ETag": '"1"'}, {"If-None-Match": '"1"'}),
            ({"ETag": 'W/"1"'}, {"If-None-Match": 'W/"1"'}),
            ({"Last_Modified": "Sat, 01 Jan 2028"}, {"If-Modified-Since": "Sat, 01 Jan 2028"}),
            ({"ETag": '"1"', "Last_Modified": "x"}, {"If-None-Match": '"1"', "If-Modified-Since": "x"}),
            ({"ETag": f'"{"1" * 999}"'}, {}),
            ({"ETag": ""}, {}),
            ({}, {}),
        ],
    )
    def test_are_what_the_server_said(
        self, responses: RequestsMock, answered: dict[str, str], asks: dict[str, str]
    ) -> None:
        """Validators are sent unchanged, unless they are very long."""
        known = self.known_after(responses, **answered)
        ask(known=known)
        headers = requested(responses).headers
        assert {name: headers[name] for name in ("If-None-Match", "If-Modified-Since") if name in headers} == asks

    def test_not_modified_is_no_error(self, responses: RequestsMock) -> None:
        """A 304 raises NotModified, and the validators are kept."""
        known = self.known_after(responses, ETag='"1"')
        responses.replace("GET", URL, status=304)
        for _ in range(2):
            one = client(known)
            with pytest.raises(NotModified):
                one.get("thing")
            assert one.validators == known
            assert one.status == 304
            known = one.validators

    def test_new_validators_replace_the_old_ones(self, responses: RequestsMock) -> None:
        """A new response replaces the validators."""
        known = self.known_after(responses, ETag='"1"')
        responses.replace("GET", URL, json={}, headers={"ETag": '"2"'})
        one = client(known)
        one.get("thing")
        assert one.validators["urls"] == {URL: {"etag": '"2"'}}

    def test_hold_for_one_address(self, responses: RequestsMock) -> None:
        """Validators belong to one address; those of addresses no longer requested are dropped."""
        known = self.known_after(responses, ETag='"1"')
        responses.get(f"{API}/other", json={})
        one = client(known)
        one.get("other")
        assert "If-None-Match" not in requested(responses).headers
        assert one.validators["urls"] == {}

    def test_may_be_left_out(self, responses: RequestsMock) -> None:
        """Unconditional requests neither send nor store validators."""
        known = self.known_after(responses, ETag='"1"')
        one = client(known)
        one.get("thing", conditional=False)
        assert "If-None-Match" not in requested(responses).headers
        assert one.validators["urls"] == {}

    @pytest.mark.parametrize("known", [None, {}, {"reading": -1, "urls": {URL: {"etag": '"1"'}}}])
    def test_of_another_reading_do_not_count(self, responses: RequestsMock, known: Any) -> None:
        """Validators of another `READING` version are ignored."""
        responses.get(URL, json={})
        ask(known=known)
        assert "If-None-Match" not in requested(responses).headers

    def test_go_with_the_reading(self, responses: RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stored validators contain the `READING` version."""
        known = self.known_after(responses, ETag='"1"')
        monkeypatch.setattr(client_module, "READING", client_module.READING + 1)
        ask(known=known)
        assert "If-None-Match" not in requested(responses).headers


class TestPages:
    """pages."""

    @staticmethod
    def book(responses: RequestsMock, **following: str) -> None:
        """Answer with pages; `p1="…"` is the next link of page 1."""
        for name, follow in following.items():
            headers = {"Link": f'<{follow}>; rel="next", <{API}/p9>; rel="last"', "ETag": f'"{name}"'}
            responses.get(f"{API}/{name}", json=[name], headers=headers if follow else {})

    @staticmethod
    def read(limit: int = 10, known: Mapping[str, Any] | None = None, first: str = "p1") -> list[Any]:
        return [answer.data[0] for answer in client(known).pages(first, {}, limit, kind=list)]

    def test_follow_each_other(self, responses: RequestsMock) -> None:
        """Each page names the next, by a whole address or a part of one; the last one names none."""
        self.book(responses, p1=f"{API}/p2", p2="/p3", p3="")
        assert self.read() == ["p1", "p2", "p3"]

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_have_a_limit(self, responses: RequestsMock, limit: int) -> None:
        """The number of pages is limited."""
        self.book(responses, p1=f"{API}/p2", p2=f"{API}/p3", p3=f"{API}/p4", p4="")
        assert len(self.read(limit)) == len(responses.calls) == limit

    def test_are_asked_for_one_by_one(self, responses: RequestsMock) -> None:
        """A page is requested only when the caller asks for it."""
        self.book(responses, p1=f"{API}/p2", p2="")
        next(client().pages("p1", {}, 10, kind=list))
        assert len(responses.calls) == 1

    @pytest.mark.parametrize("back", ["p1", "p2"])
    def test_in_a_circle_are_refused(self, responses: RequestsMock, back: str) -> None:
        """Pages that link to each other in a loop are refused."""
        self.book(responses, p1=f"{API}/p2", p2=f"{API}/{back}")
        with pytest.raises(Unusable, match="in a loop"):
            self.read(1000)
        assert len(responses.calls) == 2

    @pytest.mark.parametrize("follow", ["https://inner.test/p2", "//inner.test:8080/p2", "http://pypi.test/p2"])
    def test_follow_each_other_under_another_name(self, responses: RequestsMock, follow: str) -> None:
        """Next pages with an internal name are requested at the origin, and a loop is still detected."""
        self.book(responses, p1=follow, p2="")
        assert self.read() == ["p1", "p2"]
        self.book(responses, p3=follow.replace("p2", "p4"), p4=follow.replace("p2", "p3"))
        with pytest.raises(Unusable, match="in a loop"):
            self.read(first="p3")
        assert len(responses.calls) == 4

    @pytest.mark.parametrize("follow", ["https://[::1", "https://:80/", "ftp://pypi.test/p2"])
    def test_that_lead_nowhere_are_refused(self, responses: RequestsMock, follow: str) -> None:
        """An invalid next address is refused."""
        self.book(responses, p1=follow)
        with pytest.raises(Unusable, match="not below its API"):
            self.read()
        assert len(responses.calls) == 1

    def test_that_are_not_there_do_not_mean_that_all_is_gone(self, responses: RequestsMock) -> None:
        """A missing following page raises Unusable, not Gone."""
        self.book(responses, p1=f"{API}/p2")
        responses.get(f"{API}/p2", status=404)
        with pytest.raises(Unusable, match="does not exist"):
            self.read()

    def test_of_a_server_that_fails_in_the_middle(self, responses: RequestsMock) -> None:
        """If a following page fails, so does the whole request."""
        self.book(responses, p1=f"{API}/p2")
        responses.get(f"{API}/p2", status=503)
        with pytest.raises(Unreachable):
            self.read()

    def test_only_the_first_is_conditional(self, responses: RequestsMock) -> None:
        """If the first page is unchanged, no other page is read."""
        self.book(responses, p1=f"{API}/p2", p2="")
        one = client()
        list(one.pages("p1", {}, 10, kind=list))
        assert list(one.validators["urls"]) == [f"{API}/p1"]
        self.read(known=one.validators)
        conditions = ["If-None-Match" in call.request.headers for call in responses.calls]
        assert conditions == [False, False, True, False]
        responses.replace("GET", f"{API}/p1", status=304)
        with pytest.raises(NotModified):
            self.read(known=one.validators)
        assert len(responses.calls) == 5


def test_an_answer_names_the_last_page(responses: RequestsMock) -> None:
    """An answer has the address of the last page."""
    responses.get(URL, json={}, headers={"Link": f'<{URL}?page=2>; rel="next", <{URL}?page=40>; rel="last"'})
    answer = ask()
    assert (answer.next, answer.last) == (f"{URL}?page=2", f"{URL}?page=40")


@pytest.mark.parametrize(
    "link", ["", ";", "<>; rel=next", "x", '<https://pypi.test/a>; rel="prev"', "<a>; rel", '; rel="next"']
)
def test_a_link_that_makes_no_sense_is_no_link(responses: RequestsMock, link: str) -> None:
    """An unreadable Link header counts as no next page."""
    responses.get(URL, json={}, headers={"Link": link})
    assert ask().next == ""


def test_memory_is_a_copy() -> None:
    """Changes of the memory do not affect the stored one."""
    memory: dict[str, Any] = {"a": 1}
    one = Client(SESSION, SERVER, memory=memory)
    one.memory["b"] = 2
    assert memory == {"a": 1}


class TestRefusals:
    """A host's `refusal` has priority over the status."""

    WHY = Unusable("PyPI does not like us (HTTP 403)", "package")

    def test_are_what_the_host_says(self, responses: RequestsMock) -> None:
        """`refusal` is called with the server and the response."""
        seen: list[tuple[Server, int]] = []

        def refusal(server: Server, response: requests.Response) -> AskError | None:
            seen.append((server, response.status_code))
            return self.WHY

        server = Server("PyPI", API, refusal=refusal)
        responses.get(URL, status=403)
        with pytest.raises(Unusable) as caught:
            client(server=server).get("thing")
        assert caught.value is self.WHY
        assert seen == [(server, 403)]

    def test_are_not_asked_for_where_there_is_an_answer(self, responses: RequestsMock) -> None:
        """`refusal` is not called for a usable response or for a status in `empty`."""
        server = Server("PyPI", API, refusal=lambda *_: self.WHY)
        responses.get(URL, status=409)
        assert client(server=server).get("thing", empty={409}).data is None
        responses.replace("GET", URL, json={})
        assert client(server=server).get("thing").data == {}

    def test_with_advice_are_told_once(self, responses: RequestsMock, caplog: pytest.LogCaptureFixture) -> None:
        """Advice for operators is logged once per pause, however many packages are refused."""

        def refusal(*_: object) -> AskError:
            return LeftAlone("PyPI refuses us", "refused", datetime.now(UTC) + timedelta(hours=1), "Pay the bill")

        responses.get(URL, status=403)
        responses.get("https://pypistats.test/thing", status=403)
        for _ in range(3):
            for api in (API, "https://pypistats.test"):
                with pytest.raises(LeftAlone):
                    client(server=Server("PyPI", api, refusal=refusal)).get("thing")
        told = [record.getMessage() for record in caplog.records if "Pay the bill" in record.getMessage()]
        assert len(told) == 2
        assert told[0].startswith("PyPI refuses us; nothing is sent before ")

    def test_with_advice_are_told_again_when_the_pause_is_over(
        self, responses: RequestsMock, outbound_http: OutboundHTTP, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After the pause, the advice is logged again."""

        def refusal(*_: object) -> AskError:
            return LeftAlone("PyPI refuses us", "refused", datetime.now(UTC) + timedelta(hours=1), "Pay the bill")

        responses.get(URL, status=403)
        for _ in range(2):
            with pytest.raises(LeftAlone):
                client(server=Server("PyPI", API, refusal=refusal)).get("thing")
            outbound_http.clock.advance(3600)
        assert sum("Pay the bill" in record.getMessage() for record in caplog.records) == 2


class TestTokenThatIsUnwelcome:
    """If only the token is refused, the request is repeated without it."""

    @staticmethod
    def refusal(server: Server, response: requests.Response) -> AskError | None:
        return TokenUnwelcome("PyPI wants no token (HTTP 403)", "owner") if response.status_code == 403 else None

    @pytest.fixture
    def one(self) -> Client:
        return Client(
            sessions().with_token, Server("PyPI", API, "s3cret", refusal=self.refusal), anonymous=sessions().trusted
        )

    @staticmethod
    def only_without(responses: RequestsMock, path: str, status: int = 200, **headers: str) -> None:
        def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            return (403, {}, "") if "Authorization" in request.headers else (status, headers, f'["{path}"]')

        responses.add_callback("GET", f"{API}/{path}", answer)

    def test_is_left_out_once(self, responses: RequestsMock, one: Client) -> None:
        """The following pages are requested without the token too."""
        self.only_without(responses, "p1", Link=f'<{API}/p2>; rel="next"')
        self.only_without(responses, "p2")
        assert [answer.data for answer in one.pages("p1", {}, 9, kind=list)] == [["p1"], ["p2"]]
        sent = [call.request.headers.get("Authorization") for call in responses.calls]
        assert sent == ["Bearer s3cret", None, None]
        assert one.attempts == 3

    @pytest.mark.parametrize("status", [401, 403, 404, 503])
    def test_is_left_out_no_second_time(self, responses: RequestsMock, one: Client, status: int) -> None:
        """A refusal of the request without the token is final."""
        self.only_without(responses, "p1", status)
        with pytest.raises(AskError) as caught:
            one.get("p1", kind=list)
        assert type(caught.value) is {403: TokenUnwelcome, 404: Gone, 503: Unreachable}.get(status, Unusable)
        assert len(responses.calls) == (5 if status == 503 else 2)

    @pytest.mark.parametrize("headers", [{"Retry-After": "1800"}, EXHAUSTED])
    def test_is_not_held_where_the_calls_without_it_are_limited(
        self, responses: RequestsMock, one: Client, headers: dict[str, str]
    ) -> None:
        """A limit of calls without a token delays only this package, not the source."""
        self.only_without(responses, "p1", 429, **headers)
        for sent in (2, 3):
            with pytest.raises(NotReady, match=r"our token; without it, .* limits our rate") as caught:
                Client(one._session, one.server, anonymous=sessions().trusted).get("p1", kind=list)
            assert not caught.value.again
            assert len(responses.calls) == sent
        responses.get(URL, json={})
        assert one.get("thing").data == {}

    def test_is_refused_where_there_is_no_other_way(self, responses: RequestsMock) -> None:
        """A client without an anonymous session raises the refusal."""
        self.only_without(responses, "p1")
        with pytest.raises(TokenUnwelcome):
            client(server=Server("PyPI", API, "s3cret", refusal=self.refusal)).get("p1")
        assert len(responses.calls) == 1


@pytest.mark.parametrize("etag", ['"\x85"', '\x0b"a"', '"' + "x" * 300 + '"', '"a" ', ""])
def test_a_validator_that_could_not_be_sent_back_is_not_kept(responses: RequestsMock, etag: str) -> None:
    """A validator with control characters is not stored, as it could not be sent back."""
    responses.get(URL, json={}, headers={"ETag": etag})
    one = client()
    one.get("thing")
    again = client(one.validators)
    assert again.get("thing").data == {}
