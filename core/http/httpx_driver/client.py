"""The clients. All requests use the transports of this package, even if an environment variable sets a proxy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import idna

from .. import process
from ..argument_checks import check_number
from ..engine.upstream import Clock, Random
from ..origin import Origin
from ..policy import Policy, refuse_options
from ..wire import address_guard, redaction
from ..wire.no_cookies import KeepNone
from . import client_call, exception_bases
from .library import Library
from .settings import refuse_unsafe
from .shared_deadline import SharedDeadline
from .transport import Transport, wrapping
from .transport_call import KEY, origin_of_url

_Response = TypeVar("_Response")
_POLICY = frozenset(field.name for field in fields(Policy))

if TYPE_CHECKING:

    class _Client:
        """The part of `httpx.Client` and `httpx.AsyncClient` that `Client` uses."""

        headers: Any
        cookies: Any

        def __init__(self, **options: Any) -> None: ...
        def _build_redirect_request(self, request: Any, response: Any) -> Any: ...
        def _merge_url(self, url: Any) -> Any: ...
        def send(self, request: Any, **how: Any) -> Any: ...

else:
    _Client = object


class Client(_Client):
    """Common base of the clients for threads and for event loops."""

    library: ClassVar[Library]
    transport_class: ClassVar[type[Transport]]

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        untrusted: bool = False,
        partition: str = "",
        clock: Clock | None = None,
        wait: Callable[[float], object] | None = None,
        random: Random | None = None,
        timeout: Any = None,
        **client_options: Any,
    ) -> None:
        refuse_options(type(self), {name: value for name, value in client_options.items() if name in _POLICY})
        self._settings = {
            "policy": policy,
            "untrusted": untrusted,
            "partition": partition,
            "clock": clock,
            "wait": wait,
            "random": random,
        }
        self._untrusted = untrusted
        self._clock = clock
        self.transports: list[Transport] = []
        """The transports of this package that the client uses."""
        client_options.setdefault("limits", self.library.limits())
        if untrusted:
            refuse_unsafe(client_options)
            client_options["trust_env"] = False
            most = client_options.get("max_redirects", address_guard.REDIRECTS)
            client_options["max_redirects"] = min(most, address_guard.REDIRECTS)
        mounts = client_options.get("mounts")
        if mounts:
            client_options["mounts"] = {pattern: self._wrapped(given) for pattern, given in mounts.items()}
        super().__init__(timeout=timeout, **client_options)
        if untrusted:
            self.cookies.jar.set_policy(KeepNone())

    def within(self, seconds: float) -> AbstractContextManager[object]:
        """Return a context manager: the calls of the client in its block share one total deadline.

        So do the calls of tasks that are started in the block. Calls of other threads or tasks are not affected. A call
        that begins after the deadline raises `DeadlineExceeded`.

        :param seconds: seconds from now until the deadline. It can only shorten the policy's `total_timeout`.
        """
        check_number("seconds", seconds, "a number of seconds", -inf, inf)
        clock = self._clock or process.current().runtime.clock
        return SharedDeadline(self, clock() + seconds)

    def _init_transport(self, *_: Any, transport: Any = None, **options: Any) -> Any:
        if transport is not None:
            return self._wrapped(transport)
        return self._made(**options)

    def _init_proxy_transport(self, proxy: Any, *_: Any, **options: Any) -> Any:
        return self._made(proxy=proxy, **options)

    def _build_redirect_request(self, request: Any, response: Any) -> Any:
        """Build the request of a redirect as httpx does.

        An untrusted client removes everything that may be a credential if the redirect leads to another origin.
        """
        try:
            redirect = super()._build_redirect_request(request, response)
        except idna.IDNAError as exc:  # raise the error that httpx raises for other invalid URLs
            error = f"Invalid URL in location header: {exc}."
            raise self.library.httpx.RemoteProtocolError(error, request=request) from exc
        if not self._untrusted:
            return redirect
        before, after = _origin(request.url), _origin(redirect.url)
        blocked = None
        if request.url.scheme == "https" and redirect.url.scheme == "http":
            blocked = "The redirect leads from https to http"
        elif before != after and _has_body(redirect):
            blocked = "The redirect would send the request body to another origin"
        if blocked is not None:  # raised when the redirect is sent, because httpx also builds redirects to ignore
            redirect.extensions = {**redirect.extensions, KEY: {"blocked": blocked}}
        if before != after:
            kept = {*address_guard.KEPT_HEADERS, "host"}
            for name in [name for name in redirect.headers if name.lower() not in kept]:
                del redirect.headers[name]
        return redirect

    def _merge_url(self, url: Any) -> Any:
        """Merge the URL as httpx does, but raise httpx's `InvalidURL` for all invalid host names.

        (For some names with "xn--", httpx 0.28 raises an error of idna.)
        """
        merged = super()._merge_url(url)
        try:
            merged.host  # noqa: B018 - the property decodes it
        except idna.IDNAError as exc:
            raise self.library.httpx.InvalidURL(f"Invalid IDNA hostname: {exc}") from exc
        return merged

    def _prepare(self, request: Any) -> None:
        """Replace the default User-Agent of httpx with the configured User-Agent."""
        configured = process.current().config.user_agent
        if configured and request.headers.get("User-Agent") == f"python-{self._name}/{self._version}":
            request.headers["User-Agent"] = configured

    @property
    def _name(self) -> str:
        name: str = self.library.httpx.__name__
        return name

    @property
    def _version(self) -> str:
        version: str = self.library.httpx.__version__
        return version

    def _noted(self, error: Any, request: Any, call: client_call.ClientCall) -> None:
        """Complete an error that no transport of this package raised: set its attempts, mask the secrets of the URL."""
        if not hasattr(error, "attempts"):
            error.attempts = call.attempts
            redaction.error(error, redaction.secrets_of(str(request.url)))

    def _wrapped(self, given: Any) -> Any:
        ours = wrapping(self.transport_class, given, self._settings)
        if ours is not None:
            self.transports.append(ours)
        return ours

    def _made(self, **options: Any) -> Any:
        made = self.transport_class(**self._settings, **options)  # type: ignore[arg-type]  # mixed types
        self.transports.append(made)
        return made


class SyncClient(Client, Generic[_Response]):
    """A client for threads whose calls have retries, hard timeouts, a circuit breaker, a rate-limit gate and metrics.

    `policy`, `untrusted`, `partition`, `clock`, `wait` and `random` are the parameters of `ResilientSession`. All other
    options are those of `httpx.Client` (or `httpx2.Client`). With ``untrusted=True``, the client raises `ValueError`
    for verify=False, proxy, mounts, transport and uds.
    """

    # `core.http.httpx` and `core.http.httpx2` derive a class from this one and from the client of their library.

    def send(self, request: Any, *, stream: bool = False, **how: Any) -> _Response:
        """Send the request as httpx does. Redirects and authentication share the total deadline of the call."""
        self._prepare(request)
        with client_call.entered(self.transports, stream=stream, limit=SharedDeadline.of(self)) as call:
            send = self.transports[0].traced(partial(self._send, call, **how))
            try:
                response: _Response = send(request)
            except exception_bases.NotSent as exc:
                raise exc.answer()  # noqa: B904 - it is the same error
        return response

    def _send(self, call: client_call.ClientCall, request: Any, **how: Any) -> Any:
        try:
            return super().send(request, stream=call.stream, **how)
        except (self.library.httpx.HTTPError, self.library.httpx.InvalidURL) as exc:
            self._noted(exc, request, call)
            raise


class AsyncClient(Client, Generic[_Response]):
    """A client for event loops (asyncio, uvloop, trio), with the features and parameters of `ResilientClient`."""

    # `core.http.httpx` and `core.http.httpx2` derive a class from this one and from the client of their library.

    async def send(self, request: Any, *, stream: bool = False, **how: Any) -> _Response:
        """Send the request as httpx does. Redirects and authentication share the total deadline of the call."""
        self._prepare(request)
        with client_call.entered(self.transports, stream=stream, limit=SharedDeadline.of(self)) as call:
            send = self.transports[0].traced(partial(self._send, call, **how))
            try:
                response: _Response = await send(request)
            except exception_bases.NotSent as exc:
                raise exc.answer()  # noqa: B904 - it is the same error
        return response

    async def _send(self, call: client_call.ClientCall, request: Any, **how: Any) -> Any:
        try:
            return await super().send(request, stream=call.stream, **how)
        except (self.library.httpx.HTTPError, self.library.httpx.InvalidURL) as exc:
            self._noted(exc, request, call)
            raise


def _has_body(request: Any) -> bool:
    return "Transfer-Encoding" in request.headers or request.headers.get("Content-Length", "0") != "0"


def _origin(url: Any) -> Origin | None:
    try:
        return origin_of_url(url)
    except ValueError:
        return None
