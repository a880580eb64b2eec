"""Requests one part of a package from a server. Every failure raises an `AskError`.

The requests are conditional (If-None-Match, If-Modified-Since), so that an unchanged part is not sent again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from core.http import CircuitOpen, DeadlineExceeded, RateLimited, ResponseTooLarge, process
from core.http.origin import origin_of
from core.http.outcome import Attempt, Result
from package.sources.api_server import Server
from package.sources.api_urls import resolve
from package.sources.auth import Credentials, sending
from package.sources.error_answers import error_of, not_sent
from package.sources.errors import (
    NO_TIME,
    Gone,
    LeftAlone,
    NotModified,
    NotReady,
    TokenUnwelcome,
    Unreachable,
    Unusable,
)

READING = 2
"""Version of the code that reads responses. Increase it when that code changes. Then stored validators are ignored, so
that unchanged responses are read again."""
_VALIDATOR = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_PARSING = Lock()
"""A lock that is held while a response is parsed, because parsing takes up to ten times the memory of the body. Several
threads would not be faster than one."""
_FAILURES = {
    "blocked": "has an address that is not allowed",
    "too_large": "sent too large an answer",
    "truncated": "sent an incomplete answer",
}
"""Texts for the reasons that core.http reports."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    url: str
    data: Any
    """The parsed JSON; None: the status means that there is no data."""
    next: str = ""
    """URL of the next page; "": there is none."""
    last: str = ""
    """URL of the last page; "": the response does not contain it."""


class Client:
    """Requests one part of one package from one server, and counts attempts and seconds. Not thread-safe."""

    def __init__(
        self,
        session: requests.Session,
        server: Server,
        known: Mapping[str, Any] | None = None,
        memory: Any = None,
        before: Callable[[], object] = lambda: None,
        anonymous: requests.Session | None = None,
    ) -> None:
        """Prepare a client.

        :param known: the `validators` that were stored after the last fetch.
        :param memory: the data that the part stored for this fetch.
        :param before: a function that is called before each request.
        :param anonymous: the session for requests without the token, which are sent if only the token is refused.
        """
        self._before = before
        self._anonymous = anonymous
        self._token_unwelcome = False
        self.server = server
        self.memory: dict[str, Any] = dict(memory or {})
        self.attempts = 0
        self.seconds = 0.0
        self.status: int | None = None
        self.reason = ""
        self.asked = False
        """Whether the session was called. `attempts` shows whether it sent anything."""
        self._session = session
        self._known = known["urls"] if known and known.get("reading") == READING else {}
        self._seen: dict[str, dict[str, str]] = {}
        """The validators of the addresses that were requested in this fetch. Those of other addresses are dropped."""
        self._again = True
        self._sent = False

    @property
    def validators(self) -> dict[str, Any]:
        """The validators of the responses. They must be stored together with the values of the responses."""
        return {"reading": READING, "urls": self._seen}

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        kind: type[dict[str, Any] | list[Any]] = dict,
        empty: Collection[int] = (),
        conditional: bool = True,
    ) -> Answer:
        """Request `path`, which is a path below the server's API or an address from a response.

        :param kind: the required type of the JSON.
        :param empty: statuses that mean that there is no data. `Answer.data` is then None.
        :param conditional: whether to send the stored validators.
        :raises AskError: if no usable response arrived.
        :raises NotModified: if `conditional` is True and the response has not changed since the last fetch.
        """
        try:
            url = _address(resolve(self.server.api, path), params)
        except ValueError as exc:  # errors of requests about invalid addresses are ValueErrors too
            raise Unusable(f"{self.server.name} named an address that is not below its API", "other") from exc
        key = _key(url)
        conditions = self._conditions(key) if conditional else {}
        response = self._answered(url, conditions, empty)
        status = response.status_code
        if status == 304 and conditions:
            self._seen[key] = self._known[key]
            raise NotModified
        data = None if status in empty else self._json(response, kind)
        if conditional:
            self._remember(key, response.headers)
        links = {rel: link["url"] for rel, link in response.links.items() if link.get("url")}
        following = _following(self.server.api, url, links.get("next", ""))
        return Answer(status, response.headers, url, data, following, links.get("last", ""))

    def pages(self, path: str, params: Mapping[str, str | int], limit: int, **how: Any) -> Iterator[Answer]:
        """Request `path` and the pages that follow it, and yield at most `limit` responses.

        Only the first request is conditional. Raises the errors of `get`. If a following page is missing, it raises
        `Unusable` instead of `Gone`, because the resource itself exists.

        :param how: the other arguments of `get`.
        """
        answer = self.get(path, params, **how)
        asked = {answer.url}
        yield answer
        while answer.next and len(asked) < limit:
            if answer.next in asked:
                raise Unusable(f"{self.server.name}'s pages link to each other in a loop", "other")
            asked.add(answer.next)
            try:
                answer = self.get(answer.next, **{**how, "conditional": False})
            except Gone as exc:
                text = f"{self.server.name} named a next page that does not exist (HTTP {self.status})"
                raise Unusable(text, "other") from exc
            yield answer

    def _answered(self, url: str, conditions: Mapping[str, str], empty: Collection[int]) -> requests.Response:
        """Return a usable response. If only the token is refused, this request is repeated without it.

        Later requests are then sent without the token, too. Servers allow few requests without a token. If that limit
        is reached, only this package must wait, so `NotReady` is raised instead of `LeftAlone`.
        """
        try:
            return self._ask(url, conditions, empty)
        except TokenUnwelcome:
            if self._anonymous is None or not self.server.token:
                raise
            self._session, self.server = self._anonymous, replace(self.server, token="")
            self._token_unwelcome = True
            return self._answered(url, conditions, empty)
        except LeftAlone as exc:
            if not self._token_unwelcome or exc.reason in {"breaker_open", NO_TIME}:
                raise
            text = f"the owner of the repository does not accept our token; without it, {exc}"
            raise NotReady(text, exc.reason, again=False) from exc

    def _ask(self, url: str, conditions: Mapping[str, str], empty: Collection[int]) -> requests.Response:
        response = self._send(url, conditions)
        status = response.status_code
        if status == 200 or status in empty or (status == 304 and conditions):
            return response
        raise error_of(self.server, response, self.reason, again=self._again)

    def _send(self, url: str, conditions: Mapping[str, str]) -> requests.Response:
        name = self.server.name
        self._before()
        self.asked = True
        auth = Credentials(self.server.token, self.server.api)  # even without a token, because otherwise netrc is used
        headers = {"Accept": self.server.accept, **self.server.headers, **conditions}
        try:
            response = self._counted(url, headers, auth)
        except (CircuitOpen, RateLimited) as exc:
            raise not_sent(name, exc) from exc
        except DeadlineExceeded as exc:
            if not self._sent:
                raise LeftAlone(f"{name} was not asked: no time was left", NO_TIME) from exc
            raise Unreachable(f"{name} did not answer in time: DeadlineExceeded", "timeout") from exc
        except requests.TooManyRedirects as exc:
            raise Unusable(f"{name} redirects in a loop", "other") from exc
        except requests.RequestException as exc:
            # Only the type of the error, because its text may contain parts of the URL and of the response.
            text = f"{name} {_FAILURES.get(self.reason, 'could not be reached')}: {type(exc).__name__}"
            if self.reason:
                text = f"{text} ({self.reason})"
            raise Unreachable(text, self.reason or "other", again=self._again) from exc
        self.status = response.status_code
        return response

    def _counted(self, url: str, headers: Mapping[str, str], auth: Credentials) -> requests.Response:
        """Send the request, and count its attempts and seconds."""
        clock = process.current().runtime.clock
        started = clock()
        try:
            with sending(self.server.token):
                response = self._session.get(url, headers=headers, auth=auth)
        except requests.RequestException as exc:
            self._note(exc, clock() - started)
            raise
        self._note(response, clock() - started)
        return response

    def _note(self, ending: requests.Response | requests.RequestException, seconds: float) -> None:
        attempts: tuple[Attempt, ...] = getattr(ending, "attempts", ())
        self.seconds += seconds
        self.attempts += len(attempts)
        self._sent = bool(attempts)
        self.reason = ""
        if attempts:
            last = attempts[-1].outcome
            self.status, self._again = last.status, last.transient
            if last.result is Result.FAILURE and last.reason:
                self.reason = last.reason.value

    def _conditions(self, key: str) -> dict[str, str]:
        known = self._known.get(key, {})
        names = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}
        return {header: known[key] for key, header in names.items() if key in known}

    def _remember(self, key: str, headers: Mapping[str, str]) -> None:
        seen = {"etag": headers.get("ETag"), "last_modified": headers.get("Last-Modified")}
        # Very long validators are not stored, nor are those with control characters, which could not be sent.
        if kept := {key: value for key, value in seen.items() if value and _VALIDATOR.fullmatch(value)}:
            self._seen[key] = kept

    def _json(self, response: requests.Response, kind: type) -> Any:
        name = self.server.name
        try:
            with _PARSING:
                data = response.json()
        except ResponseTooLarge as exc:
            raise Unusable(f"{name} {_FAILURES['too_large']}: {exc}", "too_large") from exc
        except (ValueError, RecursionError) as exc:
            raise Unusable(f"{name}'s answer is not JSON", "other") from exc
        if not isinstance(data, kind):
            wanted = "an object" if kind is dict else "a list"
            raise Unusable(f"{name}'s answer is JSON, but not {wanted}", "other")
        return data


def _address(url: str, params: Mapping[str, str | int] | None) -> str:
    """Return the address as requests will send it. Raises `ValueError` if it is invalid."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, params)
    return prepared.url or ""


def _key(url: str) -> str:
    """Return the key of an address in the stored validators: the address without userinfo."""
    return urlsplit(url)._replace(netloc=origin_of(url).netloc).geturl()


def _following(api: str, base: str, link: str) -> str:
    """Return the absolute URL of `link`, the next page after `base`. Links that `get` will refuse are not changed."""
    try:
        return resolve(api, urljoin(base, link)) if link else ""
    except ValueError:
        return link
