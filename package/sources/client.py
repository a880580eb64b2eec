"""Asking a server about one part of a package: conditionally, and with a clear word for whatever comes of it."""

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
from package.sources.credentials import Credentials, sending
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
from package.sources.links import resolve
from package.sources.server import Server

READING = 2
"""Raised whenever answers are read in another way: so that no answer of before passes for unchanged."""
_VALIDATOR = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_PARSING = Lock()
"""Held while an answer is parsed: that takes up to ten times the memory of its body, and gains nothing from threads."""
_FAILURES = {
    "blocked": "is where nothing may be fetched from",
    "too_large": "sent too large an answer",
    "truncated": "broke off its answer",
}
"""In words, by the reasons that core.http gives."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    url: str
    data: Any
    """The JSON; None where the status says that there is none."""
    next: str = ""
    """The URL of the next page; "" after the last."""
    last: str = ""
    """The last one."""


class Client:
    """Asks one server about one part of one package, and keeps count. For one thread at a time."""

    def __init__(
        self,
        session: requests.Session,
        server: Server,
        known: Mapping[str, Any] | None = None,
        memory: Any = None,
        before: Callable[[], object] = lambda: None,
        anonymous: requests.Session | None = None,
    ) -> None:
        """Make a client.

        :param known: what `validators` came to the last time.
        :param memory: what a part keeps for its next time.
        :param before: called before each question.
        :param anonymous: what to ask through, without the server's token, where only that is refused.
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
        """A question was given to the session; whether it was sent, `attempts` says."""
        self._session = session
        self._known = known["urls"] if known and known.get("reading") == READING else {}
        self._seen: dict[str, dict[str, str]] = {}
        """Of the addresses that were asked this time; the others are forgotten."""
        self._again = True
        self._sent = False

    @property
    def validators(self) -> dict[str, Any]:
        """To be kept, with the values that came with them, for the next time."""
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
        """Ask for `path` below the server's API, or for an address that the server named: see `links.resolve`.

        :param kind: what the JSON has to be.
        :param empty: statuses that mean: there is nothing. `Answer.data` is None then.
        :param conditional: raise `NotModified` where the answer is that of the last time.
        :raises AskError, NotModified:
        """
        try:
            url = _address(resolve(self.server.api, path), params)
        except ValueError as exc:  # what requests says of addresses that are none is a ValueError as well
            raise Unusable(f"{self.server.name} names an address that is not one of its API", "other") from exc
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
        """Ask for `path` and the pages that follow it, `limit` of them at most. As `get`; the first is conditional.

        A following page that is not there says nothing about the first one, so it is `Unusable`, and not `Gone`.
        """
        answer = self.get(path, params, **how)
        asked = {answer.url}
        yield answer
        while answer.next and len(asked) < limit:
            if answer.next in asked:
                raise Unusable(f"{self.server.name} sends its pages in a circle", "other")
            asked.add(answer.next)
            try:
                answer = self.get(answer.next, **{**how, "conditional": False})
            except Gone as exc:
                text = f"{self.server.name} names a next page that is not there (HTTP {self.status})"
                raise Unusable(text, "other") from exc
            yield answer

    def _answered(self, url: str, conditions: Mapping[str, str], empty: Collection[int]) -> requests.Response:
        """Return an answer that can be used. Where only the token is refused, ask once more, and from then on, without.

        Few calls without a token are allowed. Their limit is no reason to leave the server alone that answers all
        others, so it is told apart.
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
            text = f"without our token, which the repository's owner does not accept, {exc}"
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
        auth = Credentials(self.server.token, self.server.api)  # given even without a token: or netrc would give one
        headers = {"Accept": self.server.accept, **self.server.headers, **conditions}
        try:
            response = self._counted(url, headers, auth)
        except (CircuitOpen, RateLimited) as exc:
            raise not_sent(name, exc) from exc
        except DeadlineExceeded as exc:
            if not self._sent:
                raise LeftAlone(f"there was no time left to ask {name}", NO_TIME) from exc
            raise Unreachable(f"{name} did not answer in time: DeadlineExceeded", "timeout") from exc
        except requests.TooManyRedirects as exc:
            raise Unusable(f"{name} redirects in a circle", "other") from exc
        except requests.RequestException as exc:
            # The kind says enough: the text may repeat more of the URL and the server than one wants to store.
            text = f"{name} {_FAILURES.get(self.reason, 'could not be reached')}: {type(exc).__name__}"
            if self.reason:
                text = f"{text} ({self.reason})"
            raise Unreachable(text, self.reason or "other", again=self._again) from exc
        self.status = response.status_code
        return response

    def _counted(self, url: str, headers: Mapping[str, str], auth: Credentials) -> requests.Response:
        """Send, and note what it took."""
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
        # One that is absurdly long is not worth its room, one with odd characters could never be sent back.
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
    """Return the address that requests will ask for. Raises `ValueError` where it is none."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, params)
    return prepared.url or ""


def _key(url: str) -> str:
    """Return what the ledger knows an address by: without userinfo."""
    return urlsplit(url)._replace(netloc=origin_of(url).netloc).geturl()


def _following(api: str, base: str, link: str) -> str:
    """Return the URL of the next page, which `base` names as `link`; as it is where `get` will refuse it."""
    try:
        return resolve(api, urljoin(base, link)) if link else ""
    except ValueError:
        return link
