"""Connections through SOCKS proxies, with sockets that enforce deadlines. Needs PySocks (``requests[socks]``)."""

from __future__ import annotations

import socket
from typing import Any

import socks
import urllib3.contrib.socks as urllib3_socks
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from . import attempt_context, compat, connect
from .attempt_context import Stage
from .connections import DeadlineHTTPConnectionPool, DeadlineHTTPSConnectionPool, Keeping, KeepingOverTLS, Unless
from .sockets import DeadlineSocket, keep_deadlines, refuse_late_patch

compat.check_pysocks(socks, urllib3_socks.SOCKSConnection)


class _SocksSocket(DeadlineSocket, socks.socksocket):  # type: ignore[misc]  # PySocks is untyped
    """PySocks' socket. Its own code is used only for the negotiation with the proxy; `connect.connect` connects it."""

    def connect(self, address: Any, *_: Any) -> None:
        socket.socket.connect(self, address)

    def negotiate(self, options: dict[str, Any], host: str, port: int) -> None:
        kind, rdns = options["socks_version"], options["rdns"]
        self._remote_dns = bool(rdns)
        if kind == socks.SOCKS4 and not rdns:
            host = self._look_up(host, port)
        self.set_proxy(
            kind,
            options["proxy_host"],
            options["proxy_port"],
            rdns,
            options["username"],
            options["password"],
        )
        compat.negotiate(self, kind, host, port)

    def _write_SOCKS5_address(self, addr: tuple[str, int], file: Any) -> Any:  # noqa: N802 - PySocks' name
        """Write the address as PySocks does, after the greeting. Local DNS lookups end at the deadline."""
        host, port = addr
        if not self._remote_dns:
            host = self._look_up(host, port)
        return super()._write_SOCKS5_address((host, port), file)

    @staticmethod
    def _look_up(host: str, port: int) -> str:
        """Look up an address of `host`, for proxies that do not look up names (those without "h" in the scheme)."""
        attempt = attempt_context.current()
        if attempt is None:
            return host
        address = str(connect.resolve(attempt, host, port)[0][4][0])
        attempt.stage = Stage.CONNECT
        return address


class _SocksConnection(Keeping, urllib3_socks.SOCKSConnection):  # type: ignore[misc]  # a stricter response_class
    _next_stage = Stage.SEND

    def _new_conn(self) -> socket.socket:
        attempt = attempt_context.current()
        refuse_late_patch()
        if attempt is None:
            return keep_deadlines(super()._new_conn())  # type: ignore[no-any-return]  # PySocks' socket
        attempt.connected = True
        options = compat.socks_options_of(self)
        try:
            sock: Any = connect.connect(
                attempt,
                options["proxy_host"],
                int(options["proxy_port"] or 1080),
                timeout=self.timeout,
                source_address=self.source_address,
                socket_options=self.socket_options or (),
                make=_SocksSocket,
            )
            try:
                sock.negotiate(options, self.host, self.port)
            except BaseException:
                sock.close()
                raise
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from exc
        except OSError as exc:  # includes PySocks' own errors
            cause = getattr(exc, "socket_err", None)
            if isinstance(cause, TimeoutError):
                raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from exc
            raise NewConnectionError(self, f"Failed to establish a new connection: {exc}") from exc
        attempt.stage = self._next_stage
        connected: socket.socket = sock
        return connected


class _SocksHTTPSConnection(KeepingOverTLS, _SocksConnection, urllib3_socks.SOCKSHTTPSConnection):  # type: ignore[misc]  # as above
    _next_stage = Stage.TLS


class _SocksHTTPConnectionPool(DeadlineHTTPConnectionPool):
    ConnectionCls = Unless(_SocksConnection, urllib3_socks.SOCKSHTTPConnectionPool, urllib3_socks.SOCKSConnection)


class _SocksHTTPSConnectionPool(DeadlineHTTPSConnectionPool):
    ConnectionCls = Unless(
        _SocksHTTPSConnection, urllib3_socks.SOCKSHTTPSConnectionPool, urllib3_socks.SOCKSHTTPSConnection
    )


POOLS: dict[str, type] = {"http": _SocksHTTPConnectionPool, "https": _SocksHTTPSConnectionPool}
"""For `SOCKSProxyManager.pool_classes_by_scheme`."""
