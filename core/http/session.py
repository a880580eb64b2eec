"""ResilientSession: `requests.Session`, made resilient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from typing import Any, Never
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.exceptions import InvalidHeader, InvalidProxyURL, InvalidSchema, InvalidURL
from requests.hooks import default_hooks
from requests.utils import default_user_agent, get_auth_from_url

from . import body_limit, process, total_deadline
from .adapter import ResilientAdapter, request_origin
from .arguments import check_flag, check_number, check_partition
from .engine.upstream import Clock, Random
from .log import logger
from .origin import origin_of
from .policy import Policy, refuse_options
from .wire import address_guard, compat, plain_requests, plain_send, redaction, unexpected_errors
from .wire.cookie_jar import BoundedCookieJar
from .wire.no_cookies import KeepNone, SendNone
from .wire.requests_exceptions import BlockedAddress, CircuitOpen, RateLimited

_RESOLVE_REDIRECTS = requests.Session.resolve_redirects


class ResilientSession(requests.Session):
    """A `requests.Session` of which every call is retried, spaced, cut off and counted.

    Without `policy` it shares the upstreams of the process, as the settings describe them; with one (or with a
    clock or random source) it has state of its own and shares nothing.

    It differs from `requests.Session` in three ways: ``timeout=`` bounds an attempt, can only shorten the
    policy's, and None means the policy's; a body larger than `Policy.max_response_bytes` raises
    `ResponseTooLarge`; `Response.elapsed` includes retries. With ``stream=True`` the caller reads the body, so
    what goes wrong in it is not retried.

    :param policy: how its calls behave; default: as the settings say for each upstream.
    :param untrusted: for URLs that users submit. Only public addresses are reached, by http and https on ports 80,
        443, 8080 and 8443; of redirects at most 5 are followed, none from https to http, and those to another
        origin carry neither a body nor any header, cookie or hook that may be or add a credential; no cookies are
        kept; the environment's proxies and netrc are not used; bodies have 2 MiB at most, unless `policy` has another
        `max_response_bytes` than the default. Raises
        `BlockedAddress` where a URL leads elsewhere, and `ValueError` for ``verify=False`` and ``proxies=``.
    :param partition: the name of the credential whose quota the calls use up, say "token-2": never the credential
        itself, for the name is a label of metrics. Rate-limit gate, retry budget and quota metrics are those of the
        partition; the breaker is the upstream's. Default: "", for calls without a credential, or with the only one.
    :param clock: seconds, never going back; default: `time.monotonic`.
    :param wait: waits that many seconds before a retry (default: `time.sleep`); what it raises ends the call.
    :param random: a number in [0, 1), for jitter; default: `random.random`.
    :raises ValueError: for a partition that is no name of up to 40 letters, digits, "_", "." and "-".
    """

    __attrs__ = [*requests.Session.__attrs__, "_untrusted", "_clock"]  # noqa: RUF012 - what pickle keeps

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        untrusted: bool = False,
        partition: str = "",
        clock: Clock | None = None,
        wait: Callable[[float], object] | None = None,
        random: Random | None = None,
        **unknown: Never,
    ) -> None:
        refuse_options(type(self), unknown)
        check_flag("untrusted", untrusted)
        super().__init__()
        check_partition(partition)
        self._clock = clock
        self.cookies = BoundedCookieJar()
        adapter = _SessionAdapter(
            policy, untrusted=untrusted, partition=partition, clock=clock, wait=wait, random=random
        )
        if untrusted:
            self.trust_env = False
            self.max_redirects = address_guard.REDIRECTS
            self.cookies.set_policy(KeepNone())
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self._untrusted = untrusted

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As in requests; the configured User-Agent takes the place of requests' own."""
        prepare = super().prepare_request
        plain = None
        try:
            if _is(prepare, plain_requests.PREPARE_REQUEST):
                plain = plain_requests.prepare(self, request)
            prepared = plain or prepare(request)
        except requests.RequestException as exc:
            exc.attempts = ()  # type: ignore[attr-defined]  # requests does not know it
            raise self._without_secrets(exc, request)  # noqa: B904 - the same
        except Exception as exc:
            translated = self._of_preparation(exc, request)
            if translated is None:
                raise
            translated.attempts = ()  # type: ignore[attr-defined]  # as above
            raise translated from exc
        configured = process.current().config.user_agent
        if configured and prepared.headers.get("User-Agent") == default_user_agent():
            prepared.headers["User-Agent"] = configured
        return prepared

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> dict[str, Any]:
        """As in requests, which reads the whole environment at every call; here that is done when it has changed."""
        merge = super().merge_environment_settings
        plain = None
        if _is(merge, plain_requests.MERGE_ENVIRONMENT_SETTINGS):
            plain = plain_requests.settings(self, url, proxies, stream, verify, cert)
        return plain or merge(url, proxies, stream, verify, cert)

    def _without_secrets(self, exc: requests.RequestException, request: requests.Request) -> requests.RequestException:
        if isinstance(exc, InvalidHeader):  # it quotes the header's value
            return redaction.error(exc, redaction.quoted(*request.headers.values(), *self.headers.values()))
        return redaction.url_in(exc, _text(request.url))

    def _of_preparation(self, exc: Exception, request: requests.Request) -> requests.RequestException | None:
        """Return the error of requests for a URL's password, or an earlier challenge; None: neither is the cause."""
        given = request.auth or self.auth
        if isinstance(exc, UnicodeError) and not given and any(get_auth_from_url(_text(request.url))):
            return InvalidURL("Invalid URL: its user name or password is not in Latin-1")
        return unexpected_errors.of_challenge(exc, None)

    def mount(self, prefix: str, adapter: BaseAdapter) -> None:
        """As in requests; an untrusted session takes only adapters that check where they lead.

        A plain `HTTPAdapter` for all of https:// or http:// is logged as a WARNING: a file that mounts one for its
        `max_retries` no longer needs it, and its calls would not be resilient.
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix={prefix!r}: must be text, such as 'https://': write mount(prefix, adapter)")
        if isinstance(adapter, type) or not hasattr(adapter, "send"):
            raise TypeError(f"adapter={adapter!r}: must be an adapter, such as ResilientAdapter()")
        if getattr(self, "_untrusted", False) and not getattr(adapter, "untrusted", False):
            raise ValueError("Untrusted sessions reject adapters that skip the address check")
        is_made = hasattr(self, "_untrusted")  # requests' own __init__ mounts plain adapters
        if is_made and type(adapter) is HTTPAdapter and prefix in {"https://", "http://"}:
            text = "A plain HTTPAdapter was mounted for %s, so its calls are not resilient: remove that, or mount a %s"
            logger.warning(text, prefix, ResilientAdapter.__name__)
        super().mount(prefix, adapter)

    def within(self, seconds: float) -> AbstractContextManager[object]:
        """Give all calls that are made inside, in this thread or task, one total deadline together.

        :param seconds: for all of them; it can only shorten the policy's `total_timeout`. A call that begins after them
            raises `DeadlineExceeded`.
        """
        check_number("seconds", seconds, "a number of seconds", -inf, inf)
        clock = self._clock or process.current().runtime.clock
        return total_deadline.several_calls(self, clock() + seconds)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """As in requests; but what servers send for a Location raises nothing worse than `InvalidURL`."""
        try:
            target = super().get_redirect_target(resp)
            if target:
                _ = urlsplit(urljoin(resp.url, target)).port
        except ValueError:
            raise requests.exceptions.InvalidURL("A redirect leads to no URL", response=resp) from None
        return target

    def resolve_redirects(
        self, resp: requests.Response, req: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        """As in requests; where there is no redirect, nothing is prepared for one."""
        resolve = super().resolve_redirects
        if _is(resolve, _RESOLVE_REDIRECTS) and not self.get_redirect_target(resp):
            return iter(())
        return resolve(resp, req, *args, **kwargs)

    def close(self) -> None:
        """As in requests; an adapter that is mounted twice is closed once."""
        for adapter in dict.fromkeys(self.adapters.values()):
            adapter.close()

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As in requests; redirects and authentication share the total deadline of the call."""
        if self._untrusted:
            self._guard(request, kwargs)
        with total_deadline.session_call(self) as call:
            try:
                send = super().send
                if _is(send, plain_send.SEND) and plain_send.can_send(self, request, kwargs):
                    return plain_send.send(self, request, **kwargs)
                return send(request, **kwargs)
            except (CircuitOpen, RateLimited) as exc:
                # Not before: what wraps requests' own method, as tracing does, would take it for an answer of a server.
                hop = exc.request if isinstance(exc.request, requests.PreparedRequest) else request
                raise exc.answer(hop)  # noqa: B904 - it is the same error
            except requests.RequestException as exc:
                if not hasattr(exc, "attempts"):  # it did not come from an adapter of ours
                    exc.attempts = call.attempts  # type: ignore[attr-defined]  # requests does not know it
                if isinstance(exc, InvalidSchema):
                    redaction.url_in(exc, _text(request.url))
                raise
            except Exception as exc:
                challenge = unexpected_errors.of_challenge(exc, request)
                if challenge is None:
                    raise
                challenge.attempts = call.attempts  # type: ignore[attr-defined]  # as above
                raise challenge from exc

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> dict[str, str]:
        """As in requests; but the password of a proxy raises nothing worse than `InvalidProxyURL`."""
        try:
            return super().rebuild_proxies(prepared_request, proxies)
        except UnicodeError:
            raise InvalidProxyURL("The proxy's user name or password is not in Latin-1") from None

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As in requests; an untrusted session takes no header along to another origin that may be a credential."""
        super().rebuild_auth(prepared_request, response)
        if not self._untrusted:
            return
        before, after = origin_of(str(response.url)), request_origin(prepared_request)
        if before.scheme == "https" and after.scheme == "http":
            raise BlockedAddress("A redirect leads from https to http", request=prepared_request)
        if before == after:
            return
        if prepared_request.body is not None:
            raise BlockedAddress("A redirect to another origin asks for the body again", request=prepared_request)
        compat.set_cookies(prepared_request, RequestsCookieJar(SendNone()))
        prepared_request.hooks = default_hooks()  # authentication answers a 401 by such
        for name in [name for name in prepared_request.headers if name.lower() not in address_guard.KEPT_HEADERS]:
            del prepared_request.headers[name]

    def _guard(self, request: requests.PreparedRequest, kwargs: dict[str, Any]) -> None:
        if not kwargs.get("verify", self.verify):
            raise ValueError("verify=False is not for an untrusted session: nobody would know who answers")
        if kwargs.get("proxies", self.proxies):
            raise ValueError("proxies= are not for an untrusted session: they would reach what it must not")
        jar = compat.cookies_of(request)
        if jar is not None and not isinstance(compat.cookie_policy_of(jar), KeepNone):
            jar.set_policy(KeepNone())


class _SessionAdapter(ResilientAdapter):
    """The adapter of a `ResilientSession`, which may be for URLs that users submit.

    The public `ResilientAdapter` has no such switch: on somebody else's session it could not keep what that promises.
    """

    __attrs__ = [*ResilientAdapter.__attrs__, "untrusted", "partition"]  # noqa: RUF012 - what pickle keeps

    def __init__(
        self,
        policy: Policy | None,
        *,
        untrusted: bool,
        partition: str,
        clock: Clock | None,
        wait: Callable[[float], object] | None,
        random: Random | None,
    ) -> None:
        super().__init__(policy, clock=clock, wait=wait, random=random)
        self.untrusted = untrusted
        self.partition = partition

    def max_bytes(self, policy: Policy) -> int | None:
        limit = policy.max_response_bytes
        return body_limit.of_untrusted(limit, chosen=self._policy is not None) if self.untrusted else limit


def _is(method: Any, function: object) -> bool:
    """Say whether a method is that function: neither a patch nor another base of a subclass has taken its place."""
    return getattr(method, "__func__", None) is function


def _text(url: Any) -> str:
    return url.decode("latin-1") if isinstance(url, bytes) else str(url)
