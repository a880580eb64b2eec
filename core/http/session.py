"""ResilientSession: `requests.Session`, made resilient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import default_user_agent

from core.http import registry, scope
from core.http.adapter import ResilientAdapter
from core.http.engine import Clock, Random
from core.http.policy import Policy


class ResilientSession(requests.Session):
    """A `requests.Session` of which every call is retried, spaced, cut off and counted.

    Without `policy` it shares the upstreams of the process, as the settings describe them; with one (or with a
    clock or random source) it has state of its own and shares nothing.

    It differs from `requests.Session` in three ways: ``timeout=`` bounds an attempt, can only shorten the
    policy's, and None means the policy's; a body larger than `Policy.max_response_bytes` raises
    `ResponseTooLarge`; `Response.elapsed` includes retries. With ``stream=True`` the caller reads the body, so
    what goes wrong in it is not retried.

    :param untrusted: for URLs that users submit. Not available yet: raises `NotImplementedError`.
    :param clock: seconds, never going back; default: `time.monotonic`.
    :param wait: waits that many seconds before a retry (default: `time.sleep`); what it raises ends the call.
    :param random: a number in [0, 1), for jitter; default: `random.random`.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        untrusted: bool = False,
        clock: Clock | None = None,
        wait: Callable[[float], object] | None = None,
        random: Random | None = None,
    ) -> None:
        if untrusted:
            raise NotImplementedError(
                "untrusted=True is not available yet: ResilientSession does not check where a URL leads. "
                "Do not fetch URLs that users submit with it."
            )
        super().__init__()
        adapter = ResilientAdapter(policy, clock=clock, wait=wait, random=random)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As in requests; the configured User-Agent takes the place of requests' own."""
        prepared = super().prepare_request(request)
        configured = registry.current().config.user_agent
        if configured and prepared.headers.get("User-Agent") == default_user_agent():
            prepared.headers["User-Agent"] = configured
        return prepared

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """As in requests; but what servers send for a Location raises nothing worse than `InvalidURL`."""
        try:
            target = super().get_redirect_target(resp)
            if target:
                _ = urlsplit(urljoin(resp.url, target)).port
        except ValueError:
            raise requests.exceptions.InvalidURL("A redirect leads to no URL", response=resp) from None
        return target

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As in requests; redirects and authentication share the total deadline of the call."""
        with scope.session_call(self):
            return super().send(request, **kwargs)
