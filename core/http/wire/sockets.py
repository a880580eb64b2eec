"""Sockets, plain and TLS, whose operations all end at the deadline of their attempt.

Their classes derive from `socket.socket` and `ssl.SSLSocket` as they are when this module is imported; these are
gevent's classes if gevent has patched them before. Sockets that other libraries create (for example truststore) are
converted or rejected, because with a socket that ignores the deadline, a server that sends a byte from time to time
could hold a call forever.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

from urllib3.util.ssltransport import SSLTransport

from . import compat
from .attempt_context import AttemptContext, current
from .supported_versions import PATCHERS, origin_of

_SLACK = 0.005
"""Seconds by which an operation may exceed its timeout. So the timeout need not be set before each operation of a short
call, which saves system calls."""
_TEST_TOOLS = frozenset({"httpretty", "mocket"})
"""Packages that simulate servers in tests, with file descriptors that lead to no server."""
_Socket = socket.socket
_set_timeout = socket.socket.settimeout
_PATCHED_LATE = (
    "{} patched the sockets after core.http was imported: sockets created before the patch block all greenlets. At the "
    "top of the program, or of gunicorn's configuration file with --preload, add: from gevent import monkey; "
    "monkey.patch_all()"
)
_UNKNOWN = (
    "{} cannot enforce the attempt timeout, so the request was not sent. Change the code that creates it (a patch of "
    "socket, ssl or urllib3, or an adapter's ssl_context) to return instances of socket.socket or ssl.SSLSocket"
)


class CannotKeepDeadline(Exception):  # noqa: N818 - turned into UnsupportedSocket where the request is known
    """A socket would ignore the deadline. This is no OSError, so that urllib3 does not treat it as a network error."""


class _Timed(_Socket):
    """Common base of plain and TLS sockets. Before each operation, it sets the timeout to the attempt's time left."""

    _limit: float | None = None
    """The timeout that urllib3 set for each operation, in seconds."""

    _set: float | None = None
    """The current timeout of the socket, in seconds."""

    def settimeout(self, value: float | None) -> None:
        self._limit = self._set = value
        _set_timeout(self, value)

    def arm(self) -> AttemptContext | None:
        """Set the timeout for the next operation. Raises `TimeoutError` if the attempt has no time left."""
        attempt = current()
        limit = self._limit
        if attempt is not None:
            left = attempt.left()
            limit = left if limit is None else min(left, limit)
            if self._set is not None and limit <= self._set <= limit + _SLACK:
                return attempt
        self._set = limit
        _set_timeout(self, limit)
        return attempt

    def _wait(self, *args: Any, **kwargs: Any) -> None:
        """Set the timeout again, because gevent restarts it for each part of a handshake or record."""
        self.arm()
        super()._wait(*args, **kwargs)  # type: ignore[misc]  # gevent's


class DeadlineSocket(_Timed, _Socket):
    """A TCP socket whose operations all end at the deadline of their attempt."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        attempt = self.arm()
        count = super().recv_into(*args, **kwargs)
        if attempt is not None:
            attempt.received += count
        return count

    def recv(self, *args: Any) -> bytes:
        attempt = self.arm()
        data = super().recv(*args)
        if attempt is not None:
            attempt.received += len(data)
        return data

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.arm()
        return super().send(*args, **kwargs)  # gevent's `sendall` passes a timeout by name

    def sendall(self, *args: Any) -> None:
        self.arm()
        super().sendall(*args)


class DeadlineSSLSocket(_Timed, ssl.SSLSocket):
    """A TLS socket whose operations all end at the deadline of their attempt.

    `recv_into` and `sendall` of `ssl.SSLSocket` call `read` and `send`, so only these are overridden.
    """

    def do_handshake(self, *args: Any) -> None:  # gevent's takes no argument
        self.arm()
        try:
            super().do_handshake(*args)
        except BaseException:
            self.close()  # ssl closes the socket only after an OSError
            raise

    def recv(self, *args: Any) -> bytes:
        try:
            return super().recv(*args)
        except OSError as exc:
            # Before the handshake, ssl checks whether the server has closed the connection. If it has, ssl drops this
            # socket without closing it. (ssl keeps a socket that is not connected yet, which only test tools use.)
            if exc.errno not in {errno.ENOTCONN, errno.EINVAL} and compat.has_no_session(self):
                self.close()
            raise

    def read(self, *args: Any) -> Any:
        attempt = self.arm()
        got: Any = super().read(*args)  # bytes, or their number if a buffer was passed
        if attempt is not None:
            attempt.received += got if isinstance(got, int) else len(got)
        return got

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.arm()
        return super().send(*args, **kwargs)


def with_deadlines(base: type, ours: type[_Timed]) -> type:
    """Return `ours`, or a class derived from `ours` and `base` if another library defines `base`."""
    return ours if issubclass(ours, base) else type(f"Deadline{base.__name__}", (ours, base), {})


def keep_deadlines(sock: Any) -> Any:
    """Return a socket that enforces deadlines: `sock` itself if possible, otherwise a new socket with its descriptor.

    :raises CannotKeepDeadline: if neither is possible. `sock` is closed.
    """
    if isinstance(sock, _Timed) or (isinstance(sock, SSLTransport) and isinstance(sock.socket, _Timed)):
        return sock  # TLS inside TLS reads and sends through its inner socket
    try:
        if type(sock) is _Socket:  # its class has slots, so it cannot be changed to a class with attributes
            timeout = sock.gettimeout()
            ours = DeadlineSocket(sock.family, sock.type, sock.proto, sock.detach())
            ours.settimeout(timeout)
            return ours
        if isinstance(sock, _Socket):
            kind = DeadlineSSLSocket if isinstance(sock, ssl.SSLSocket) else DeadlineSocket
            return compat.become(sock, with_deadlines(type(sock), kind))
    except TypeError:  # an incompatible memory layout
        pass
    if _is_pretended(sock):
        return sock
    sock.close()
    raise CannotKeepDeadline(_UNKNOWN.format(_name_of(type(sock))))


def refuse_late_patch() -> None:
    """Raise `CannotKeepDeadline` if gevent has patched the sockets after this module was imported."""
    if socket.socket is not _Socket and origin_of(socket.socket) in PATCHERS:
        raise CannotKeepDeadline(_PATCHED_LATE.format(origin_of(socket.socket)))


def refuse_pyopenssl(kind: type) -> None:
    """Raise `CannotKeepDeadline` for pyOpenSSL's class of TLS contexts, before a connection is opened."""
    if origin_of(kind, parts=3) == "urllib3.contrib.pyopenssl":
        raise CannotKeepDeadline(
            "pyOpenSSL has replaced ssl, and its sockets cannot enforce the attempt timeout: do not call "
            "urllib3.contrib.pyopenssl.inject_into_urllib3(), or undo it with extract_from_urllib3(). urllib3 has "
            "deprecated the module, and ssl has all of its features"
        )


def _is_pretended(sock: Any) -> bool:
    """Return whether `sock` is an imitation of a socket by a test tool: it has no file descriptor and so no server."""
    if origin_of(type(sock)) in _TEST_TOOLS:
        return True
    try:
        descriptor = sock.fileno()
    except Exception:  # noqa: BLE001 - an imitation may raise anything for a missing method
        return True
    return not isinstance(descriptor, int) or descriptor < 0


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
