"""The client: tokens and passwords are sent only to the server that they belong to."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from responses import RequestsMock

from package.sources.api_server import Server
from package.sources.errors import (
    AskError,
)
from tests.package.sources.client_calls import API, SERVER, URL, ask, client, requested


class TestSecrets:
    """Tokens and passwords are sent to their own server only."""

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

    def test_netrc_is_not_used(self, responses: RequestsMock) -> None:
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
    def test_a_redirect_within_the_server_keeps_the_token(
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
