"""The client: the requests that it sends, and the answers that it returns."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from responses import RequestsMock

from core.http.testing import OutboundHTTP
from package.sources.api_server import Server
from package.sources.client import Client
from package.sources.errors import (
    Unusable,
)
from tests.package.sources.client_calls import API, SERVER, SESSION, URL, ask, client, requested


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

    def test_has_the_headers_of_its_server(self, responses: RequestsMock) -> None:
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
        """If a list is expected, a list is accepted, and an object is refused."""
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


def test_memory_is_a_copy() -> None:
    """Changes of the memory do not affect the stored one."""
    memory: dict[str, Any] = {"a": 1}
    one = Client(SESSION, SERVER, memory=memory)
    one.memory["b"] = 2
    assert memory == {"a": 1}
