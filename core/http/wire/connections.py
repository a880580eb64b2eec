"""urllib3's pools and connections with sockets that enforce deadlines, and with stricter parsing of responses.

If a test tool has replaced the connections of urllib3 or the sockets of Python, its replacements are used.
"""

from __future__ import annotations

import math
import socket
import sys
import time
from typing import Any

import urllib3.connectionpool
import urllib3.util.connection
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    NameResolutionError,
    NewConnectionError,
)

from . import attempt_context, compat, connect, tls_contexts
from .attempt_context import Stage
from .compat import HTTPConnection, HTTPSConnection
from .connection_queue import ConnectionQueue
from .response_head import StrictResponse
from .sockets import keep_deadlines, refuse_late_patch

MOST_IDLE = 30.0
"""Seconds. A connection that was idle for longer is not reused, because a NAT or load balancer may have dropped it."""
_REAL = (socket.socket, socket.create_connection, urllib3.util.connection.create_connection)


class Keeping:
    """Common base of all connections, those through SOCKS proxies included."""

    response_class = StrictResponse
    idle_since = math.inf
    """Monotonic time at which the connection was returned to its pool."""
    _sock: Any = None

    @property
    def sock(self) -> Any:
        """The socket, plain or TLS. The setter makes the socket enforce deadlines, or raises `CannotKeepDeadline`."""
        return self._sock

    @sock.setter
    def sock(self, made: Any) -> None:
        self._sock = made if made is None else keep_deadlines(made)


class KeepingOverTLS(Keeping):
    """Common base of https connections."""

    def connect(self) -> None:
        connection: Any = self
        connection.ssl_context = tls_contexts.for_one_connection(connection.ssl_context)
        proxy = connection.proxy_config
        if proxy is not None:
            context = tls_contexts.for_one_connection(proxy.ssl_context)
            connection.proxy_config = proxy._replace(ssl_context=context)
        try:
            tls_contexts.in_turn(connection.ssl_context, super().connect)  # type: ignore[misc]  # urllib3's
        except tls_contexts.TurnTimeoutError as exc:
            _reach(Stage.TLS)
            raise ConnectTimeoutError(connection, str(exc)) from exc


class _Connecting(Keeping):
    """Common base of http and https connections without a SOCKS proxy."""

    def _new_conn(self) -> socket.socket:
        refuse_late_patch()
        attempt = attempt_context.current()
        if attempt is not None:
            attempt.connected = True
        if attempt is None or (_replaced() and not attempt.untrusted):  # a test tool must not bypass the guard
            return keep_deadlines(super()._new_conn())  # type: ignore[misc,no-any-return]  # urllib3's
        connection: Any = self
        host, port = compat.name_of(connection), connection.port
        try:
            sock = connect.connect(
                attempt,
                host,
                port,
                timeout=connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options or (),
            )
        except socket.gaierror as exc:
            raise NameResolutionError(host, connection, exc) from exc
        except TimeoutError as exc:
            raise ConnectTimeoutError(connection, f"Connection to {host} timed out") from exc
        except OSError as exc:
            raise NewConnectionError(connection, f"Failed to establish a new connection: {exc}") from exc
        attempt.stage = self._next_stage
        sys.audit("http.client.connect", self, host, port)
        return sock

    _next_stage = Stage.SEND

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be reused. Unlike in urllib3, False if decrypted TLS data is pending.

        Such data is an unexpected response, which urllib3 does not detect.
        """
        connection: Any = super()
        pending = getattr(getattr(self, "sock", None), "pending", None)
        return bool(connection.is_connected) and not (pending and pending())

    def request(self, *args: Any, **kwargs: Any) -> None:
        _reach(Stage.SEND)
        super().request(*args, **kwargs)  # type: ignore[misc]  # urllib3's

    def getresponse(self) -> Any:
        _reach(Stage.HEADERS)
        response = super().getresponse()  # type: ignore[misc]  # urllib3's
        _reach(Stage.BODY)
        return response


class DeadlineHTTPConnection(_Connecting, HTTPConnection):  # type: ignore[misc]  # a stricter response_class
    pass


class DeadlineHTTPSConnection(KeepingOverTLS, _Connecting, HTTPSConnection):  # type: ignore[misc]  # as above
    _next_stage = Stage.TLS


class Unless:
    """A descriptor for `ConnectionCls` of a pool.

    It returns `ours`, unless a test tool (vcrpy) has replaced the class of urllib3. Then it returns the replacement,
    but not for untrusted calls.
    """

    def __init__(self, ours: type, pool: Any, urllib3s: type) -> None:
        self._ours = ours
        self._pool = pool
        self._urllib3s = urllib3s  # not read from the pool, where vcrpy may have replaced it already

    def __get__(self, instance: object, owner: type) -> type:
        found: type = self._pool.ConnectionCls
        attempt = attempt_context.current()
        guarded = attempt is not None and attempt.untrusted
        return self._ours if found is self._urllib3s or guarded else found


class _Waiting:
    """Common base of http and https pools."""

    QueueCls: Any = ConnectionQueue  # urllib3 declares LifoQueue but uses only four methods

    def _get_conn(self, timeout: float | None = None) -> Any:
        attempt = attempt_context.current()
        if attempt is not None:  # a pool with block=True would wait for a free connection without limit
            try:
                left = attempt.left()
            except TimeoutError:
                pool: Any = self
                raise EmptyPoolError(pool, "no time is left to wait for a connection") from None
            timeout = left if timeout is None else min(left, timeout)
        connection = super()._get_conn(timeout)  # type: ignore[misc]  # urllib3's
        idle = time.monotonic() - getattr(connection, "idle_since", math.inf)
        if idle > MOST_IDLE or (attempt is not None and attempt.fresh):
            connection.close()  # it reconnects at its next use
        return connection

    def _put_conn(self, conn: Any) -> None:
        if hasattr(conn, "idle_since"):  # the connection's class is from this module
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]  # urllib3's


class DeadlineHTTPConnectionPool(_Waiting, urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = Unless(DeadlineHTTPConnection, urllib3.connectionpool.HTTPConnectionPool, HTTPConnection)


class DeadlineHTTPSConnectionPool(_Waiting, urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = Unless(DeadlineHTTPSConnection, urllib3.connectionpool.HTTPSConnectionPool, HTTPSConnection)


POOLS: dict[str, type] = {"http": DeadlineHTTPConnectionPool, "https": DeadlineHTTPSConnectionPool}
"""For `PoolManager.pool_classes_by_scheme`."""


def _reach(stage: Stage) -> None:
    attempt = attempt_context.current()
    if attempt is not None:
        attempt.stage = stage


def _replaced() -> bool:
    return (socket.socket, socket.create_connection, urllib3.util.connection.create_connection) != _REAL
