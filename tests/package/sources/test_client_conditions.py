"""The client: conditional requests, and the validators that are stored for them."""

from __future__ import annotations

from typing import Any

import pytest
from responses import RequestsMock

from package.sources import client as client_module
from package.sources.errors import (
    NotModified,
)
from tests.package.sources.client_calls import API, URL, ask, client, requested


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
    def test_are_sent_unchanged(self, responses: RequestsMock, answered: dict[str, str], asks: dict[str, str]) -> None:
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


@pytest.mark.parametrize("etag", ['"\x85"', '\x0b"a"', '"' + "x" * 300 + '"', '"a" ', ""])
def test_a_validator_that_could_not_be_sent_back_is_not_kept(responses: RequestsMock, etag: str) -> None:
    """A validator with control characters is not stored, as it could not be sent back."""
    responses.get(URL, json={}, headers={"ETag": etag})
    one = client()
    one.get("thing")
    again = client(one.validators)
    assert again.get("thing").data == {}
