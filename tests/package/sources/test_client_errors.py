"""The client: each refusal, unusable answer or failure raises an error of its class."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from responses import RequestsMock

from core.http import Policy, ResilientSession
from core.http.testing import OutboundHTTP
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.errors import AskError, Gone, LeftAlone, NotReady, TokenUnwelcome, Unreachable, Unusable
from package.sources.sessions import sessions
from tests.package.sources.client_calls import API, SESSION, URL, ask, client


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
        """Each response has its error class, its reason for the source status, and whether to try again soon."""
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


class TestRefusals:
    """A host's `refusal` has priority over the status."""

    WHY = Unusable("PyPI does not like us (HTTP 403)", "package")

    def test_are_those_of_the_host(self, responses: RequestsMock) -> None:
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

    def test_with_advice_are_logged_once(self, responses: RequestsMock, caplog: pytest.LogCaptureFixture) -> None:
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

    def test_with_advice_are_logged_again_after_the_pause(
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
