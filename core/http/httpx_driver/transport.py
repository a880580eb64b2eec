"""Common base of the transports for threads and for event loops."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, ClassVar

from ..client_registry import ClientRegistry
from ..engine.upstream import Clock, Random
from ..policy import Policy
from ..wire import address_guard
from ..wire.sockets import CannotKeepDeadline
from . import instrumentation
from .client_call import ClientCall
from .library import Library
from .settings import Settings, pool_options
from .transport_call import TransportCall


class Transport:
    """A transport whose calls have retries, hard timeouts, a circuit breaker, a rate-limit gate and metrics.

    Without `policy`, the transport uses the process-wide upstreams. With `policy`, `clock` or `random`, it has its own
    breakers, budgets, gates and limits. With a client that is not a resilient client, the total timeout limits each
    request of a chain of redirects, not the whole chain, and bodies are read into memory unless a request has
    ``extensions={"core.http": {"stream": True}}``.

    :param policy: for all calls of the transport; default: the policy of each upstream in the settings.
    :param untrusted: connect only to public addresses, by http and https, on ports 80, 443, 8080 and 8443, and ignore
        the environment. The client follows redirects; `ResilientClient` restricts them.
    :param partition: name of the credential whose quota the calls use: see `ResilientSession`. A request can set its
        own: ``extensions={"core.http": {"partition": "token-2"}}``.
    :param clock: returns seconds that never decrease; default: the process's clock, `time.monotonic`.
    :param wait: waits the given number of seconds, for example before a retry; default: `time.sleep` or, for event
        loops, a wait that does not block the loop. An asynchronous transport awaits the result of `wait`.
    :param random: returns a number in [0, 1), for jitter; default: `random.random`.
    :param options: the options of `HTTPTransport`: verify, cert, trust_env, http1, http2, limits, proxy, uds,
        local_address, socket_options. Default limits: any number of connections, of which at most 20 (httpx2: 128) are
        kept idle, for 30 s.
    """

    library: ClassVar[Library]
    kind: ClassVar[str]
    """The name of the class of httpx that makes the attempts."""
    method: ClassVar[str]
    """The name of the method of that class that sends a request."""
    given: Any = None
    """A transport of the caller, which makes the attempts; None: a pool of this transport makes them."""

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
        # Not OSError: httpx has translated the errors of sockets, and errors of a file that is sent must reach the
        # caller.
        ours = (address_guard.Refused, CannotKeepDeadline, TimeoutError, ssl.SSLError)
        self.caught = (httpx.HTTPError, httpx.InvalidURL, *ours)
        self.after_fork()

    @property
    def socks_replies(self) -> int:
        """Number of replies of the SOCKS proxy before the connection to the server is established; 0: no proxy."""
        proxy = self.options.get("proxy")
        if proxy is not None and not isinstance(proxy, self.library.httpx.Proxy):
            proxy = self.library.httpx.Proxy(proxy)
        if proxy is None or not proxy.url.scheme.startswith("socks"):
            return 0
        return 2 if proxy.raw_auth is None else 3

    def transport_call(self, request: Any, call: ClientCall | None) -> TransportCall:
        """Start the engine's call for `request`.

        :param call: the client's call that `request` is part of; None: the client is not resilient.
        """
        return TransportCall(self.library, self.settings, self.registries.find(), request, call)

    def traced(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, wrapped by the instrumentation of httpx's transports."""
        return instrumentation.around(getattr(self.library.httpx, self.kind), self.method, call, self)

    def after_fork(self) -> None:
        settings = self.settings
        self.registries = ClientRegistry(settings.policy, settings.clock, settings.random)


def wrapping(kind: Any, given: Any, settings: dict[str, Any]) -> Any:
    """Return a resilient transport that makes its attempts with `given`; `given` itself if it is resilient already."""
    if given is None or isinstance(given, Transport):
        return given
    ours = kind(**settings)
    ours.given = given
    return ours
