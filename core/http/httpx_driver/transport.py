"""What the transports for threads and for event loops share."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, ClassVar

from ..engine.upstream import Clock, Random
from ..own_registry import OwnRegistry
from ..policy import Policy
from ..wire import address_guard
from ..wire.sockets import CannotKeepDeadline
from . import instrumentation
from .client_call import ClientCall
from .library import Library
from .outgoing import Outgoing
from .settings import Settings, pool_options


class Transport:
    """Makes resilient calls: retried, spaced, cut off and counted.

    Without `policy` it uses the upstreams of the process; with one it has state of its own. On a client that is not one
    of ours the total timeout bounds each hop of a redirect, and bodies are read into memory unless a request has
    ``extensions={"core.http": {"stream": True}}``.

    :param policy: how its calls behave; default: as the settings say for each upstream.
    :param untrusted: only public addresses are reached, by http and https on ports 80, 443, 8080 and 8443; nothing is
        taken from the environment. A redirect is the client's: see `ResilientClient` for what that has to do.
    :param partition: the name of the credential whose quota the calls use up: see `ResilientSession`. A request may
        have one of its own: ``extensions={"core.http": {"partition": "token-2"}}``.
    :param clock: seconds, never going back; default: the process's, `time.monotonic`.
    :param wait: waits that many seconds before a retry; an asynchronous transport awaits what it returns.
    :param random: a number in [0, 1), for jitter.
    :param options: those of `HTTPTransport`: verify, cert, trust_env, http1, http2, limits, proxy, uds, local_address,
        socket_options. Default limits: any number of connections, of which 20 (httpx2:
        128) are kept idle, for 30 s.
    """

    library: ClassVar[Library]
    kind: ClassVar[str]
    """The name of the class of httpx that makes the attempts."""
    method: ClassVar[str]
    """The name of its method that sends a request."""
    given: Any = None
    """A transport of somebody's own that makes the attempts, in the place of a pool."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        untrusted: bool = False,
        partition: str = "",
        clock: Clock | None = None,
        wait: Callable[[float], object] | None = None,
        random: Random | None = None,
        **options: Any,
    ) -> None:
        self.options = pool_options(type(self), self.library, options, untrusted=untrusted)
        self.settings = Settings(
            policy=policy,
            untrusted=untrusted,
            partition=partition,
            clock=clock,
            wait=wait,
            random=random,
            max_connections=self.options["limits"].max_connections,
        )
        httpx = self.library.httpx
        # Not every OSError: those of sockets are httpx's by then, and those of a file that is sent are the caller's.
        ours = (address_guard.Refused, CannotKeepDeadline, TimeoutError, ssl.SSLError)
        self.caught = (httpx.HTTPError, httpx.InvalidURL, *ours)
        self.after_fork()

    @property
    def socks_replies(self) -> int:
        """How often a SOCKS proxy answers before it is a connection to the server; 0: there is none."""
        proxy = self.options.get("proxy")
        if proxy is not None and not isinstance(proxy, self.library.httpx.Proxy):
            proxy = self.library.httpx.Proxy(proxy)
        if proxy is None or not proxy.url.scheme.startswith("socks"):
            return 0
        return 2 if proxy.raw_auth is None else 3

    def outgoing(self, request: Any, call: ClientCall | None) -> Outgoing:
        """Begin the call for `request`, which is a hop of `call` where a client of ours makes it."""
        return Outgoing(self.library, self.settings, self.registries.find(), request, call)

    def traced(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` within what instruments the transports of httpx."""
        return instrumentation.around(getattr(self.library.httpx, self.kind), self.method, call, self)

    def after_fork(self) -> None:
        settings = self.settings
        self.registries = OwnRegistry(settings.policy, settings.clock, settings.random)


def wrapping(kind: Any, given: Any, settings: dict[str, Any]) -> Any:
    """Return a transport of ours of which `given` makes the attempts; `given` itself, where it is one of ours."""
    if given is None or isinstance(given, Transport):
        return given
    ours = kind(**settings)
    ours.given = given
    return ours
