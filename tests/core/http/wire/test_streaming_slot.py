"""An answer keeps its slot until its body was read."""

from __future__ import annotations

import gc
import gzip
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
import responses as responses_library
from requests.auth import HTTPDigestAuth

from core.http import DeadlineExceeded, Policy, ResilientSession
from core.http.testing import FakeClock
from core.http.wire.urllib3_response import CheckedBody
from tests.core.http.conftest import Metrics, Serve
from tests.core.http.misbehave import MisbehavingServer, Reply, Then, reply

BODY = b"0123456789" * 10_000
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DIGEST = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'


@pytest.fixture
def server(serve: Serve) -> MisbehavingServer:
    server = serve()
    redirects = (301, "moved"), (302, "plain"), (307, "moved-again")
    server.routes = {
        "": reply(200, b"ok", then=Then.KEEP),
        "plain": reply(200, BODY, then=Then.KEEP),
        "zipped": reply(200, gzip.compress(BODY), "Content-Encoding: gzip", then=Then.KEEP),
        "chunked": Reply(CHUNKS + b"186a0\r\n" + BODY + b"\r\n0\r\n\r\n", Then.KEEP),
        "unframed": Reply(b"HTTP/1.0 200 OK\r\n\r\n" + BODY),
        "cut": reply(200, BODY, length=len(BODY) + 1),
        "empty": reply(200, b"", then=Then.KEEP),
        "204": Reply(b"HTTP/1.1 204 No Content\r\n\r\n", Then.KEEP),
        "304": Reply(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100000\r\n\r\n", Then.KEEP),
        "403": reply(403, BODY, then=Then.KEEP),
        "503": reply(503, BODY, then=Then.KEEP),
        "401": reply(401, b"who?", DIGEST, then=Then.KEEP),
        **{
            path: reply(status, BODY, f"Location: /{target}", then=Then.KEEP)
            for (status, target), path in zip(redirects, ("moved-again", "moved", "start"), strict=True)
        },
    }
    return server


@pytest.fixture
def single(clock: FakeClock) -> Iterator[ResilientSession]:
    """Return a session with one slot, on a fake clock."""
    policy = Policy(max_concurrency=1, retry_statuses=frozenset({503}), retries=1)
    with ResilientSession(policy, clock=clock, wait=clock.wait) as session:
        session.trust_env = False
        yield session


def is_free(session: ResilientSession, server: MisbehavingServer) -> bool:
    """Return whether another call gets the slot."""
    sent = len(server.requests)
    try:
        session.get(server.url)
    except DeadlineExceeded:
        assert len(server.requests) == sent
        return False
    return True


def lines(response: requests.Response) -> None:
    assert b"".join(response.iter_lines()) == BODY


def pieces(response: requests.Response) -> None:
    assert b"".join(response.iter_content(1000)) == BODY


def into_memory(response: requests.Response) -> None:
    assert response.content == BODY


def as_text(response: requests.Response) -> None:
    assert response.text == BODY.decode()


def raw(response: requests.Response) -> None:
    assert response.raw.read(decode_content=True) == BODY


def into_a_file(response: requests.Response) -> None:
    file = BytesIO()
    response.raw.decode_content = True
    shutil.copyfileobj(response.raw, file)
    assert file.getvalue() == BODY


def drained(response: requests.Response) -> None:
    response.raw.drain_conn()


def closed(response: requests.Response) -> None:
    response.close()


def closed_in_the_middle(response: requests.Response) -> None:
    next(response.iter_content(10))
    response.close()


def closed_at_the_bottom(response: requests.Response) -> None:
    response.raw.close()


@pytest.mark.parametrize("path", ["plain", "zipped", "chunked", "unframed"])
@pytest.mark.parametrize(
    "finish",
    [
        lines,
        pieces,
        into_memory,
        as_text,
        raw,
        into_a_file,
        drained,
        closed,
        closed_in_the_middle,
        closed_at_the_bottom,
    ],
)
def test_the_slot_is_held_until_the_body_is_read_or_closed(
    path: str, finish: Callable[[requests.Response], None], single: ResilientSession, server: MisbehavingServer
) -> None:
    """With stream=True, the slot is released when the body was read or closed in any way, and not before."""
    response = single.get(f"{server.url}/{path}", stream=True)
    assert not is_free(single, server)
    finish(response)
    assert is_free(single, server)


@pytest.mark.parametrize(("method", "path"), [("HEAD", "plain"), ("GET", "204"), ("GET", "304"), ("GET", "empty")])
def test_an_answer_without_a_body_holds_nothing(
    method: str, path: str, single: ResilientSession, server: MisbehavingServer
) -> None:
    """An answer without a body releases its slot, even if the response is kept open."""
    response = single.request(method, f"{server.url}/{path}", stream=True)
    assert is_free(single, server)
    assert response.content == b""


def test_a_body_that_is_left_in_the_middle_still_holds_it(single: ResilientSession, server: MisbehavingServer) -> None:
    """A body that was read in part keeps its slot."""
    response = single.get(f"{server.url}/plain", stream=True)
    for _ in response.iter_content(10):
        break
    gc.collect()
    assert not is_free(single, server)


def test_a_body_that_breaks_off_frees_it(single: ResilientSession, server: MisbehavingServer) -> None:
    """A body that breaks off releases its slot."""
    response = single.get(f"{server.url}/cut", stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        pieces(response)
    assert is_free(single, server)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # Python warns about such code
def test_a_response_that_was_collected_releases_it(single: ResilientSession, server: MisbehavingServer) -> None:
    """A response that was not closed releases its slot when it is garbage collected."""
    response = single.get(f"{server.url}/plain", stream=True)
    cycle = [response]
    cycle.append(cycle)  # type: ignore[arg-type]
    del response, cycle
    gc.collect()
    assert is_free(single, server)


def test_it_is_the_body_that_holds_it(single: ResilientSession, server: MisbehavingServer) -> None:
    """The slot is kept as long as `response.raw` exists, even if the response itself was collected."""
    body = single.get(f"{server.url}/plain", stream=True).raw
    gc.collect()
    assert not is_free(single, server)
    del body
    gc.collect()
    assert is_free(single, server)


def test_the_attempt_itself_ends_at_the_headers(
    single: ResilientSession, server: MisbehavingServer, metrics: Metrics
) -> None:
    """The attempt of a streamed answer ends at its headers, and so does the breaker's probe."""
    with single.get(f"{server.url}/plain", stream=True):
        assert metrics("active_requests", upstream="other") == 0
        assert metrics("attempts_total", upstream="other", method="GET", status_code="200", error_type="") == 1


def test_without_stream_it_ends_with_the_call(single: ResilientSession, server: MisbehavingServer) -> None:
    """A body that was read within the attempt needs no slot, though the response is kept."""
    kept = [single.get(f"{server.url}/{path}") for path in ("plain", "403", "start")]
    assert is_free(single, server)
    assert [response.status_code for response in kept] == [200, 403, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_retried_frees_it_first(
    stream: bool, single: ResilientSession, server: MisbehavingServer
) -> None:
    """The answer of a failed attempt releases its slot before the retry; that of the last attempt keeps it."""
    with single.get(f"{server.url}/503", stream=stream) as response:
        assert (response.status_code, len(server.requests)) == (503, 2)
        assert is_free(single, server) is not stream
    assert is_free(single, server)


@pytest.mark.parametrize("stream", [False, True])
def test_redirects_need_one_slot(stream: bool, single: ResilientSession, server: MisbehavingServer) -> None:
    """One slot is enough for any number of redirects."""
    with single.get(f"{server.url}/start", stream=stream) as response:
        assert len(response.history) == 3
        assert response.content == BODY
    assert is_free(single, server)


@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect_that_is_not_followed_keeps_no_slot(
    stream: bool, single: ResilientSession, server: MisbehavingServer
) -> None:
    """The body of a redirect is read within its attempt, so the caller need not close it."""
    adapter, request = single.get_adapter(server.url), requests.Request("GET", f"{server.url}/start")
    response = adapter.send(request.prepare(), stream=stream)
    assert response.status_code == 307
    assert is_free(single, server)


@pytest.mark.parametrize("stream", [False, True])
def test_digest_authentication_needs_one_slot(
    stream: bool, single: ResilientSession, server: MisbehavingServer
) -> None:
    """The 401 releases its slot before the request is sent again."""
    url, auth = f"{server.url}/401", HTTPDigestAuth("user", "passw0rd")
    with single.get(url, stream=stream, auth=auth) as response:
        assert (response.status_code, len(server.requests)) == (401, 2)
    assert is_free(single, server)


def test_an_error_frees_it(single: ResilientSession, server: MisbehavingServer) -> None:
    """A failed attempt releases its slot, even if its error is kept."""
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        single.get(f"{server.url}/cut")
    assert is_free(single, server)
    del caught


@pytest.mark.parametrize("stream", [False, True])
def test_a_mocked_answer_frees_it_too(
    stream: bool, responses: responses_library.RequestsMock, single: ResilientSession
) -> None:
    """An answer of a mock, which has no connection, releases its slot."""
    responses.get("https://example.org/", body=BODY)
    for _ in range(3):
        with single.get("https://example.org/", stream=stream) as response:
            assert response.content == BODY


def test_other_responses_keep_no_slot(single: ResilientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `raw` is not a response of urllib3, its end is not known, so the slot is released with the attempt."""

    def send(self: Any, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url or ""
        answer.raw = BytesIO(BODY)
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    kept = [single.get("https://example.org/", stream=True) for _ in range(3)]
    assert len(kept) == 3


def test_the_answers_of_an_unlimited_upstream_hold_no_slot(server: MisbehavingServer) -> None:
    """Without a limit, answers hold no slot."""
    with ResilientSession(Policy()) as session, session.get(f"{server.url}/plain", stream=True) as response:
        assert type(response.raw) is CheckedBody
