"""Everything that touches a socket, under one deadline: resolve, check the address, connect, send, receive.

`timeout=` in requests and urllib3 bounds each operation on a socket, so a server that sends a byte now and
then holds a call for ever. Here each operation gets the time that is left of its attempt, and no more. The
attempt is a `Dial`, found through a context variable: so it reaches every socket that works for it, whichever
of urllib3's layers made it, and lets go of those that are handed to the caller (``stream=True``).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar, Token
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from core.http import resolver
from core.http.resolver import AddressInfo

if TYPE_CHECKING:
    from typing import Self


_SLACK = 0.005
"""Seconds that an operation may last too long, to save a system call for each: most calls are over by then."""


class Stage(IntEnum):
    """How far an attempt got."""

    NONE = 0
    """It never touched a socket of ours: a mock answered, or the request could not even be begun."""
    DNS = 1
    CONNECT = 2
    TLS = 3
    SEND = 4
    HEADERS = 5
    BODY = 6


Check = Callable[[Iterable[str]], None]
"""Raises where one of these IP addresses must not be reached."""


class Dial:
    """One attempt on the wire: when it has to end, and how far it got. Entered, it holds for what runs within."""

    __slots__ = ("_token", "check", "ends", "named", "received", "stage")

    def __init__(self, seconds: float, *, named: bool = True, check: Check | None = None) -> None:
        """`named`: the host is one that the configuration knows; `check`: of addresses, before they are dialled."""
        self.ends = time.monotonic() + seconds
        self.named = named
        self.check = check
        self.stage = Stage.NONE
        self.received = 0
        """Bytes, as they came over the wire (or out of TLS)."""
        self._token: Token[Dial | None] | None = None

    def left(self) -> float:
        """Seconds until the end. Raises `TimeoutError` where none are left."""
        seconds = self.ends - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the attempt has used up its time")
        return seconds

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


_current: ContextVar[Dial | None] = ContextVar("core.http.dial", default=None)
current = _current.get


class _Timed(socket.socket):
    """What plain and TLS sockets share: before each operation the timeout becomes what is left of the attempt."""

    _limit: float | None = None
    """What urllib3 asked for, for each operation."""

    _set: float | None = None
    """What the socket has for a timeout now."""

    def settimeout(self, value: float | None) -> None:
        self._limit = self._set = value
        socket.socket.settimeout(self, value)

    def arm(self) -> Dial | None:
        """Set the timeout for the next operation. Raises `TimeoutError` where the attempt has no time left."""
        dial = _current.get()
        limit = self._limit
        if dial is not None:
            left = dial.left()
            limit = left if limit is None else min(left, limit)
            if self._set is not None and limit <= self._set <= limit + _SLACK:
                return dial
        self._set = limit
        socket.socket.settimeout(self, limit)
        return dial


class DeadlineSocket(_Timed, socket.socket):
    """A TCP socket whose every operation ends with the attempt that it works for."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        dial = self.arm()
        count = super().recv_into(*args, **kwargs)
        if dial is not None:
            dial.received += count
        return count

    def recv(self, *args: Any) -> bytes:
        self.arm()
        return super().recv(*args)

    def send(self, *args: Any) -> int:
        self.arm()
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self.arm()
        super().sendall(*args)


class DeadlineSSLSocket(_Timed, ssl.SSLSocket):
    """The same over TLS: `SSLSocket.recv_into` reads, and `sendall` sends, through these."""

    def do_handshake(self, block: bool = False) -> None:
        self.arm()
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()  # ssl does so for OSError only
            raise

    def recv(self, *args: Any) -> bytes:
        try:
            return super().recv(*args)
        except OSError:
            # Before the handshake, ssl looks whether the server has hung up already; and then forgets this socket.
            if getattr(self, "_sslobj", None) is None:
                self.close()
            raise

    def read(self, *args: Any) -> Any:
        dial = self.arm()
        got: Any = super().read(*args)  # bytes, or their number where a buffer was given
        if dial is not None:
            dial.received += got if isinstance(got, int) else len(got)
        return got

    def send(self, *args: Any) -> int:
        self.arm()
        return super().send(*args)


def connect(
    dial: Dial,
    host: str,
    port: int,
    *,
    timeout: float | None,
    source_address: tuple[str, int] | None,
    socket_options: Iterable[Any],
    make: Callable[..., socket.socket] = DeadlineSocket,
) -> socket.socket:
    """Resolve `host` and connect to the first of its addresses that answers; they share the time left.

    :param timeout: seconds for each address, at most.
    :raises OSError: what the look-up or the last address came to; `TimeoutError` where time ran out.
    """
    addresses = resolve(dial, host, port)
    if dial.check is not None:
        dial.check(str(info[4][0]) for info in addresses)
    dial.stage = Stage.CONNECT
    error = OSError("the name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share = dial.left() / (len(addresses) - tried)
        try:
            sock = make(family, kind, protocol)
        except OSError as exc:  # no IPv6 here, say
            error = exc
            continue
        try:
            for option in socket_options:
                sock.setsockopt(*option)
            sock.settimeout(share if timeout is None else min(share, timeout))
            if source_address:
                sock.bind(source_address)
            sock.connect(address)
            left = dial.left()
            sock.settimeout(left if timeout is None else min(left, timeout))
        except OSError as exc:
            error = exc
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error


def resolve(dial: Dial, host: str, port: int) -> Sequence[AddressInfo]:
    """Look `host` up within the time that is left. Raises as `resolver.Resolver.resolve` does."""
    dial.stage = Stage.DNS
    host = host.strip("[]")
    if _is_address(host):  # no look-up, no waiting
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    try:
        host.encode("idna")
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "this cannot be a host name") from None
    names = resolver.named if dial.named else resolver.unnamed
    return names.resolve(host, port, dial.left())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
