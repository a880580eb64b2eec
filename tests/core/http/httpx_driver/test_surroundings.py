"""The environment of a client: environment variables, logs, other transports, mocks."""

from __future__ import annotations

import logging
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from urllib3.response import HTTPResponse

from core.http import Policy, process
from core.http.registry import Config
from core.http.testing import FakeClock, OutboundHTTP
from tests.core.http.conftest import Serve
from tests.core.http.httpx_driver.conftest import Caller, Run
from tests.core.http.misbehave import reply


def test_a_proxy_of_the_environment_is_used(
    caller: Caller, serve: Serve, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls through a proxy of the environment are retried like others."""
    proxy = serve(reply(503), reply(200, b"by proxy"))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert caller().get("http://example.org/").content == b"by proxy"
    assert clock.waits == [1]
    assert proxy.requests[0].startswith(b"GET http://example.org/ ")


def test_a_proxy_that_refuses(caller: Caller, serve: Serve, clock: FakeClock, library: ModuleType) -> None:
    """A tunnel that the proxy refuses is not retried."""
    proxy = serve(reply(407))
    with pytest.raises(library.ProxyError):
        caller(proxy=proxy.url).get("https://example.org/")
    assert clock.waits == []


def test_httpx_logs_no_secret(caller: Caller, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The log line of httpx for each answer has neither the query nor the password of the URL."""
    server = serve(reply(200))
    caplog.set_level(logging.INFO)
    caller().get(server.url.replace("//", "//ada:s3cret@") + "/path?token=s3cret")
    (line,) = [record.getMessage() for record in caplog.records if record.name == caller.library.__name__]
    assert "/path" in line
    assert "200" in line
    assert "s3cret" not in caplog.text


def test_the_log_line_of_other_clients_is_unchanged(
    library: ModuleType, driver: ModuleType, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The log line of a plain client of httpx is not changed."""
    caplog.set_level(logging.INFO)
    library.get(serve(reply(200)).url + "/?page=2", trust_env=False)
    assert "?page=2" in caplog.text


def test_errors_reveal_no_secret(caller: Caller, serve: Serve, closed_port: str, library: ModuleType) -> None:
    """Neither the error of raise_for_status(), which quotes the URL, nor that of a failed call has a secret."""
    response = caller().get(serve(reply(404)).url + "/path?token=s3cret")
    with pytest.raises(library.HTTPStatusError, match="404") as raised:
        response.raise_for_status()
    assert "s3cret" not in str(raised.value)
    with pytest.raises(library.ConnectError) as failed:
        caller().get(f"http://{closed_port}/?token=s3cret")
    assert "s3cret" not in str(failed.value)


def test_the_configured_user_agent(caller: Caller, serve: Serve, outbound_http: OutboundHTTP) -> None:
    """The configured User-Agent replaces httpx's default, but not the caller's."""
    process.use(lambda: process.ProcessRegistry(Config(user_agent="site/1.0")))
    server = serve(reply(), reply())
    caller().get(server.url)
    caller(headers={"User-Agent": "mine"}).get(server.url)
    agents = [request.lower().split(b"user-agent: ")[1].split(b"\r\n")[0] for request in server.requests]
    assert agents == [b"site/1.0", b"mine"]


def test_a_custom_transport(caller: Caller, clock: FakeClock) -> None:
    """A transport passed as `transport=`, such as an application or a mock, makes the attempts."""
    answers = [503, 200]

    def handler(request: Any) -> Any:
        return caller.library.Response(answers.pop(0), json={"path": request.url.path})

    transport = caller.library.MockTransport(handler)
    response = caller(transport=transport).get("https://example.org/data")
    assert response.json() == {"path": "/data"}
    assert len(response.attempts) == 2
    assert clock.waits == [1]


def test_servers_are_asked_for_codings_that_are_decoded(
    caller: Caller, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accept-Encoding has only codings that the driver can decode, not those that only httpx can."""
    monkeypatch.setattr(HTTPResponse, "CONTENT_DECODERS", ["gzip", "x-gzip", "deflate"])
    server = serve(reply(), reply())
    assert "br" in caller.library.Client().headers["Accept-Encoding"]
    caller().get(server.url)
    caller(headers={"Accept-Encoding": "br"}).get(server.url)
    found = [request.lower().split(b"accept-encoding: ")[1].split(b"\r\n")[0] for request in server.requests]
    assert found == [b"gzip, deflate", b"br"]


@pytest.mark.parametrize("option", ["transport", "mounts"])
def test_a_custom_transport_is_closed_by_its_client(caller: Caller, option: str) -> None:
    """As in httpx, a custom transport is entered and exited with the client, or closed by `close`."""
    events: list[str] = []

    class Noting(caller.library.MockTransport):  # type: ignore[misc,name-defined]  # one of two libraries
        def __enter__(self) -> Any:
            events.append("enter")
            return super().__enter__()

        async def __aenter__(self) -> Any:
            return self.__enter__()

        def __exit__(self, *exc_info: object) -> None:
            super().__exit__(*exc_info)
            events.append("exit")

        async def __aexit__(self, *exc_info: object) -> None:
            self.__exit__(*exc_info)

        def close(self) -> None:
            events.append("close")

        async def aclose(self) -> None:
            self.close()

    transport = Noting(lambda _: caller.library.Response(200))
    options = {option: transport if option == "transport" else {"all://": transport}}
    assert caller(**options).get("https://example.org/").status_code == 200
    assert events == ["enter", "close", "exit"]
    events.clear()
    kind = caller.driver.ResilientClient if caller.is_sync else caller.driver.AsyncResilientClient
    unused = kind(**options)
    caller.on_client(kind(), lambda _: unused.close() if caller.is_sync else unused.aclose())
    assert events == ["close"]


def test_hooks_see_the_answer(caller: Caller, serve: Serve) -> None:
    """Event hooks and authentication are httpx's own: once for a call, not for each attempt."""
    seen: list[int] = []

    async def anote(response: Any) -> None:
        seen.append(response.status_code)

    def note(response: Any) -> None:
        seen.append(response.status_code)

    hooks = {"response": [note if caller.is_sync else anote]}
    server = serve(reply(503), reply(200))
    assert caller(event_hooks=hooks, auth=("ada", "pw")).get(server.url).status_code == 200
    assert seen == [200]
    assert all(b"Authorization: Basic" in request for request in server.requests)


@pytest.fixture
def unix_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"unix")

        def address_string(self) -> str:
            return ""

        def log_message(self, *_: object) -> None:
            pass

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s")
        with socketserver.UnixStreamServer(path, Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield path
            server.shutdown()


def test_a_unix_socket(caller: Caller, unix_server: str) -> None:
    """`uds=` is an option of the transports, as in httpx."""
    driver = caller.driver
    kind = driver.ResilientTransport if caller.is_sync else driver.AsyncResilientTransport
    transport = kind(Policy(retries=0), uds=unix_server)
    assert caller(transport=transport).get("http://admin/").content == b"unix"


@pytest.mark.parametrize("name", ["httpx"], indirect=True)
def test_respx_sees_every_attempt(caller: Caller, name: str, clock: FakeClock) -> None:
    """A mock of httpcore, which is respx's default, answers each attempt; respx itself knows httpx only."""
    respx = pytest.importorskip("respx")
    library = caller.library
    with respx.mock() as mock:
        route = mock.get("https://example.org/")
        route.side_effect = [library.Response(503), library.ConnectError, library.Response(200, text="fine")]
        assert caller().get("https://example.org/").text == "fine"
        assert route.call_count == 3
    assert clock.waits == [1, 2]


@pytest.mark.parametrize("name", ["httpx"], indirect=True)
def test_respx_in_place_of_the_transport_sees_a_call_once(caller: Caller, name: str, clock: FakeClock) -> None:
    """With `using="httpx"`, respx replaces the transport, so it sees one request for each call."""
    respx = pytest.importorskip("respx")
    with respx.mock(using="httpx") as mock:
        route = mock.get("https://example.org/").respond(503)
        assert caller().get("https://example.org/").status_code == 503
        assert route.call_count == 1
    assert clock.waits == []


def test_pytest_httpx_sees_every_attempt(
    request: pytest.FixtureRequest, caller: Caller, name: str, clock: FakeClock
) -> None:
    """The fixture of pytest-httpx, or of its form for httpx2, answers each attempt."""
    mock = request.getfixturevalue(f"{name}_mock")
    mock.add_response(status_code=503)
    mock.add_exception(caller.library.ReadTimeout("slow"))
    mock.add_response(json={"fine": True})
    response = caller().get("https://example.org/")
    assert response.json() == {"fine": True}
    assert len(mock.get_requests()) == 3
    assert clock.waits == [1, 2]


def test_tasks_share_the_clock_of_a_test(run: Run, driver: ModuleType, library: ModuleType, clock: FakeClock) -> None:
    """The delays of calls that are under way at the same time add up."""
    answers = [503, 503, 200, 200]
    transport = library.MockTransport(lambda _: library.Response(answers.pop(0)))

    async def main() -> None:
        async with driver.AsyncResilientClient(transport=transport) as client, anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(client.get, "https://example.org/")

    run(main)
    assert answers == []
    assert clock.waits == [1, 1]
    assert clock.now == 2


def test_clients_share_tls_contexts(driver: ModuleType) -> None:
    """Clients with the same settings share a TLS context, so that a new client loads no certificates."""
    made = [driver.ResilientTransport(), driver.AsyncResilientTransport(), driver.ResilientTransport(verify=False)]
    contexts = [transport.options["verify"] for transport in made]
    assert contexts[0] is contexts[1]
    assert contexts[0] is not contexts[2]
