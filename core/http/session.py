"""ResilientSession: a `requests.Session` whose calls are resilient."""

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

from . import process, response_size_limits, total_deadline
from .adapter import ResilientAdapter, request_origin
from .argument_checks import check_flag, check_number, check_partition
from .engine.upstream import Clock, Random
from .log import logger
from .origin import origin_of
from .policy import Policy, refuse_options
from .wire import address_guard, compat, fast_preparation, fast_session_send, redaction, unexpected_errors
from .wire.cookie_jar import BoundedCookieJar
from .wire.no_cookies import KeepNone, SendNone
from .wire.requests_exceptions import BlockedAddress, CircuitOpen, RateLimited

_RESOLVE_REDIRECTS = requests.Session.resolve_redirects


class ResilientSession(requests.Session):
    """A `requests.Session` whose calls have retries, hard timeouts, a circuit breaker, a rate-limit gate and metrics.

    Without `policy`, the session uses the process-wide upstreams, as configured in the settings. With `policy`, `clock`
    or `random`, the session has its own breakers, budgets, gates and limits.

    The most important differences from `requests.Session` are:

    - ``timeout=`` limits each attempt. It can only shorten the policy's `attempt_timeout`; None means that timeout.
    - A body larger than `Policy.max_response_bytes` raises `ResponseTooLarge`.
    - `Response.elapsed` includes retries.

    docs/calls.md lists all differences. With ``stream=True`` the caller reads the body, so errors while reading it are
    not retried.

    :param policy: for all calls of the session; default: the policy of each upstream in the settings.
    :param untrusted: for URLs that users submit. Connects only to public addresses, by http and https, on ports 80,
        443, 8080 and 8443. Follows at most 5 redirects, none from https to http, and none that would send a request
        body to another origin. From redirects to another origin, removes all headers, cookies and hooks that may
        contain or add a credential. Keeps no cookies. Ignores the environment's proxies and netrc. Limits bodies to
        2 MiB, unless `policy` sets `max_response_bytes` to another value than the default. Raises `InvalidSchema` or
        `InvalidURL` for another scheme, `TooManyRedirects` for the sixth redirect, `BlockedAddress` for any other URL
        or redirect that breaks these rules, and `ValueError` for ``verify=False`` and ``proxies=``.
    :param partition: name of the credential whose quota the calls use, for example "token-2". Never the credential
        itself, because the name is a metric label. Each partition has its own rate-limit gate, retry budget and quota
        metrics; all partitions share the upstream's breaker. Default: "", for calls with no or only one credential.
    :param clock: returns seconds that never decrease; default: `time.monotonic`.
    :param wait: waits the given number of seconds, for example before a retry; default: `time.sleep`. An exception that
        it raises ends the call.
    :param random: returns a number in [0, 1), for jitter; default: `random.random`.
    :raises ValueError: if `partition` is neither empty nor a name of up to 40 letters, digits, "_", "." and "-".
    :raises TypeError: if an argument has the wrong type, or is a field of the policy.
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
        """Prepare the request as requests does, with the configured User-Agent instead of requests' default."""
        prepare = super().prepare_request
        plain = None
        try:
            if _is(prepare, fast_preparation.PREPARE_REQUEST):
                plain = fast_preparation.prepare(self, request)
            prepared = plain or prepare(request)
        except requests.RequestException as exc:
            exc.attempts = ()  # type: ignore[attr-defined]  # requests does not declare it
            raise self._without_secrets(exc, request)  # noqa: B904 - it is the same error
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
        """Merge the settings as requests does, but read the environment only when it has changed, not at every call."""
        merge = super().merge_environment_settings
        plain = None
        if _is(merge, fast_preparation.MERGE_ENVIRONMENT_SETTINGS):
            plain = fast_preparation.settings(self, url, proxies, stream, verify, cert)
        return plain or merge(url, proxies, stream, verify, cert)

    def _without_secrets(self, exc: requests.RequestException, request: requests.Request) -> requests.RequestException:
        if isinstance(exc, InvalidHeader):  # its text quotes the header's value
            return redaction.error(exc, redaction.quoted(*request.headers.values(), *self.headers.values()))
        return redaction.url_in(exc, _text(request.url))

    def _of_preparation(self, exc: Exception, request: requests.Request) -> requests.RequestException | None:
        """Return requests' error for an invalid password in the URL or an invalid challenge; None for other causes."""
        given = request.auth or self.auth
        if isinstance(exc, UnicodeError) and not given and any(get_auth_from_url(_text(request.url))):
            return InvalidURL("Invalid URL: the user name or password has characters outside Latin-1")
        return unexpected_errors.of_challenge(exc, None)

    def mount(self, prefix: str, adapter: BaseAdapter) -> None:
        """Mount the adapter as requests does.

        Logs a WARNING if a plain `HTTPAdapter` is mounted for all of https:// or http://: calls through it are not
        resilient, and code that mounts one for its `max_retries` no longer needs it.

        :raises TypeError: if `prefix` is not a string or `adapter` not an adapter.
        :raises ValueError: if the session is untrusted and `adapter` does not check addresses.
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix={prefix!r}: must be a string such as 'https://'; call mount(prefix, adapter)")
        if isinstance(adapter, type) or not hasattr(adapter, "send"):
            raise TypeError(f"adapter={adapter!r}: must be an adapter, such as ResilientAdapter()")
        if getattr(self, "_untrusted", False) and not getattr(adapter, "untrusted", False):
            raise ValueError("Untrusted sessions reject adapters that skip the address check")
        is_made = hasattr(self, "_untrusted")  # requests' own __init__ mounts plain adapters
        if is_made and type(adapter) is HTTPAdapter and prefix in {"https://", "http://"}:
            text = "A plain HTTPAdapter was mounted for %s, so its calls are not resilient: remove it or mount a %s"
            logger.warning(text, prefix, ResilientAdapter.__name__)
        super().mount(prefix, adapter)

    def within(self, seconds: float) -> AbstractContextManager[object]:
        """Return a context manager: the calls of the session in its block share one total deadline.

        So do the calls of tasks that are started in the block, also through `asyncio.to_thread`. Calls of other threads
        or tasks are not affected. After the deadline, calls raise `DeadlineExceeded`.

        :param seconds: seconds from now until the deadline. It can only shorten the policy's `total_timeout`.
        """
        check_number("seconds", seconds, "a number of seconds", -inf, inf)
        clock = self._clock or process.current().runtime.clock
        return total_deadline.several_calls(self, clock() + seconds)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the target of the redirect as requests does. Raises `InvalidURL` if the Location is invalid."""
        try:
            target = super().get_redirect_target(resp)
            if target:
                _ = urlsplit(urljoin(resp.url, target)).port
        except ValueError:
            raise requests.exceptions.InvalidURL("The redirect's Location is not a valid URL", response=resp) from None
        return target

    def resolve_redirects(
        self, resp: requests.Response, req: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        """Follow redirects as requests does, but faster if the response is not a redirect."""
        resolve = super().resolve_redirects
        if _is(resolve, _RESOLVE_REDIRECTS) and not self.get_redirect_target(resp):
            return iter(())
        return resolve(resp, req, *args, **kwargs)

    def close(self) -> None:
        """Close all adapters; an adapter that is mounted twice is closed once."""
        for adapter in dict.fromkeys(self.adapters.values()):
            adapter.close()

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send the request as requests does. Redirects and authentication share the total deadline of the call."""
        if self._untrusted:
            self._guard(request, kwargs)
        with total_deadline.session_call(self) as call:
            try:
                send = super().send
                if _is(send, fast_session_send.SEND) and fast_session_send.can_send(self, request, kwargs):
                    return fast_session_send.send(self, request, **kwargs)
                return send(request, **kwargs)
            except (CircuitOpen, RateLimited) as exc:
                # Not earlier: tracing wraps `requests.Session.send`, and would record this response as the server's.
                hop = exc.request if isinstance(exc.request, requests.PreparedRequest) else request
                raise exc.answer(hop)  # noqa: B904 - it is the same error
            except requests.RequestException as exc:
                if not hasattr(exc, "attempts"):  # another adapter raised it
                    exc.attempts = call.attempts  # type: ignore[attr-defined]  # requests does not declare it
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
        """Return the proxies of a redirect as requests does.

        :raises InvalidProxyURL: if the proxy's user name or password cannot be encoded.
        """
        try:
            return super().rebuild_proxies(prepared_request, proxies)
        except UnicodeError:
            raise InvalidProxyURL("The proxy's user name or password has characters outside Latin-1") from None

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Rebuild the credentials of a redirect as requests does.

        In an untrusted session, remove everything that may be a credential if the redirect leads to another origin.

        :raises BlockedAddress: if the session is untrusted, and the redirect leads from https to http or would send a
            request body to another origin.
        """
        super().rebuild_auth(prepared_request, response)
        if not self._untrusted:
            return
        before, after = origin_of(str(response.url)), request_origin(prepared_request)
        if before.scheme == "https" and after.scheme == "http":
            raise BlockedAddress("The redirect leads from https to http", request=prepared_request)
        if before == after:
            return
        if prepared_request.body is not None:
            raise BlockedAddress("The redirect would send the request body to another origin", request=prepared_request)
        compat.set_cookies(prepared_request, RequestsCookieJar(SendNone()))
        prepared_request.hooks = default_hooks()  # an authentication hook would answer a 401 with credentials
        for name in [name for name in prepared_request.headers if name.lower() not in address_guard.KEPT_HEADERS]:
            del prepared_request.headers[name]

    def _guard(self, request: requests.PreparedRequest, kwargs: dict[str, Any]) -> None:
        if not kwargs.get("verify", self.verify):
            raise ValueError("verify=False is not allowed in an untrusted session: the server must be verified")
        if kwargs.get("proxies", self.proxies):
            raise ValueError("proxies= is not allowed in an untrusted session: a proxy bypasses the address check")
        jar = compat.cookies_of(request)
        if jar is not None and not isinstance(compat.cookie_policy_of(jar), KeepNone):
            jar.set_policy(KeepNone())


class _SessionAdapter(ResilientAdapter):
    """The adapter of a `ResilientSession`, with its `untrusted` and `partition`.

    The public `ResilientAdapter` has no `untrusted`: on a plain session it could not control redirects and cookies.
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
        return response_size_limits.of_untrusted(limit, chosen=self._policy is not None) if self.untrusted else limit


def _is(method: Any, function: object) -> bool:
    """Return whether the bound `method` is `function`: other code has neither patched nor overridden it."""
    return getattr(method, "__func__", None) is function


def _text(url: Any) -> str:
    return url.decode("latin-1") if isinstance(url, bytes) else str(url)
