"""SOCKS proxies under the deadline, where PySocks is installed (``pip install requests[socks]``)."""

from __future__ import annotations

import socket
from typing import Any

import socks
import urllib3.contrib.socks as urllib3_socks
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from core.http import dial
from core.http.connections import DeadlineHTTPConnectionPool, DeadlineHTTPSConnectionPool, StrictResponse
from core.http.dial import DeadlineSocket, Stage


class _SocksSocket(DeadlineSocket, socks.socksocket):  # type: ignore[misc]  # PySocks is untyped
    """PySocks' socket, of which only the negotiation is used: connecting is ours."""

    def connect(self, address: Any, *_: Any) -> None:
        socket.socket.connect(self, address)

    def negotiate(self, options: dict[str, Any], host: str, port: int) -> None:
        kind = options["socks_version"]
        self.set_proxy(
            kind,
            options["proxy_host"],
            options["proxy_port"],
            options["rdns"],
            options["username"],
            options["password"],
        )
        socks.socksocket._proxy_negotiators[kind](self, host, port)  # noqa: SLF001 - PySocks has no other door to it


class _SocksConnection(urllib3_socks.SOCKSConnection):
    response_class = StrictResponse

    def _new_conn(self) -> socket.socket:
        attempt = dial.current()
        if attempt is None:
            return super()._new_conn()  # type: ignore[no-any-return]  # PySocks' socket
        options: dict[str, Any] = dict(self._socks_options)
        try:
            sock: Any = dial.connect(
                attempt,
                options["proxy_host"],
                int(options["proxy_port"] or 1080),
                timeout=self.timeout,
                source_address=self.source_address,
                socket_options=self.socket_options or (),
                make=_SocksSocket,
            )
            try:
                # Without "h" in its scheme, the proxy wants addresses: the look-up is ours, and bounded.
                host = self.host if options["rdns"] else str(dial.resolve(attempt, self.host, self.port)[0][4][0])
                attempt.stage = Stage.CONNECT
                sock.negotiate(options, host, self.port)
            except BaseException:
                sock.close()
                raise
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from exc
        except OSError as exc:  # PySocks' own errors among them
            cause = getattr(exc, "socket_err", None)
            if isinstance(cause, TimeoutError):
                raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from exc
            raise NewConnectionError(self, f"Failed to establish a new connection: {exc}") from exc
        attempt.stage = Stage.TLS if isinstance(self, HTTPSConnection) else Stage.SEND
        connected: socket.socket = sock
        return connected


class _SocksHTTPSConnection(_SocksConnection, HTTPSConnection):
    pass


class _SocksHTTPConnectionPool(DeadlineHTTPConnectionPool):
    ConnectionCls = _SocksConnection


class _SocksHTTPSConnectionPool(DeadlineHTTPSConnectionPool):
    ConnectionCls = _SocksHTTPSConnection


POOLS: dict[str, type] = {"http": _SocksHTTPConnectionPool, "https": _SocksHTTPSConnectionPool}
"""For `SOCKSProxyManager.pool_classes_by_scheme`."""
