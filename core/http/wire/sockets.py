"""Sockets, plain and TLS, of which every operation ends with the attempt that it works for.

They are built on `socket.socket` and `ssl.SSLSocket` as they are when this is imported: gevent's, where it has patched
them before. What other libraries make (truststore, say) becomes one of these, or is refused: on a socket that knows
nothing of attempts, a server that sends a byte now and then would hold a call for ever.
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
"""Seconds that an operation may last too long, to save a system call for each: most calls are over by then."""
_TEST_TOOLS = frozenset({"httpretty", "mocket"})
"""What stands in for a server in tests, with descriptors that lead to none."""
_Socket = socket.socket
_set_timeout = socket.socket.settimeout
_PATCHED_LATE = (
    "{} patched the sockets after core.http was imported: what was made before blocks all greenlets. Patch first, at "
    "the top of the program (gunicorn --preload: of its configuration file): from gevent import monkey; "
    "monkey.patch_all()"
)
_UNKNOWN = (
    "{} cannot keep the deadline of an attempt, so nothing is sent on it. Have whatever made it (a patch of socket, "
    "ssl or urllib3, or the ssl_context of an adapter) return instances of socket.socket or ssl.SSLSocket"
)


class CannotKeepDeadline(Exception):  # noqa: N818 - turned into UnsupportedSocket where the request is known
    """A socket would ignore the deadline. Not an OSError: no layer in between takes it for the server's."""


class _Timed(_Socket):
    """What plain and TLS sockets share: before each operation the timeout becomes what is left of the attempt."""

    _limit: float | None = None
    """What urllib3 asked for, for each operation."""

    _set: float | None = None
    """What the socket has for a timeout now."""

    def settimeout(self, value: float | None) -> None:
        self._limit = self._set = value
        _set_timeout(self, value)

    def arm(self) -> AttemptContext | None:
        """Set the timeout for the next operation. Raises `TimeoutError` where the attempt has no time left."""
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
        """Only gevent calls this: for the whole timeout again whenever a handshake or a record is not complete yet."""
        self.arm()
        super()._wait(*args, **kwargs)  # type: ignore[misc]  # gevent's


class DeadlineSocket(_Timed, _Socket):
    """A TCP socket whose every operation ends with the attempt that it works for."""

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
    """The same over TLS: `SSLSocket.recv_into` reads, and `sendall` sends, through these."""

    def do_handshake(self, *args: Any) -> None:  # gevent's takes none
        self.arm()
        try:
            super().do_handshake(*args)
        except BaseException:
            self.close()  # ssl does so for OSError only
            raise

    def recv(self, *args: Any) -> bytes:
        try:
            return super().recv(*args)
        except OSError as exc:
            # Before the handshake, ssl looks whether the server has hung up already; and then forgets this socket. (One
            # that is not connected yet, which is for test tools only, it keeps.)
            if exc.errno not in {errno.ENOTCONN, errno.EINVAL} and compat.has_no_session(self):
                self.close()
            raise

    def read(self, *args: Any) -> Any:
        attempt = self.arm()
        got: Any = super().read(*args)  # bytes, or their number where a buffer was given
        if attempt is not None:
            attempt.received += got if isinstance(got, int) else len(got)
        return got

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.arm()
        return super().send(*args, **kwargs)


def with_deadlines(base: type, ours: type[_Timed]) -> type:
    """Return `ours`, or for a socket class of somebody else's one that does what both do."""
    return ours if issubclass(ours, base) else type(f"Deadline{base.__name__}", (ours, base), {})


def keep_deadlines(sock: Any) -> Any:
    """Return what keeps deadlines in the place of `sock`: `sock` itself, where it does or can be made to.

    :raises CannotKeepDeadline: where that is not possible; `sock` is closed.
    """
    if isinstance(sock, _Timed) or (isinstance(sock, SSLTransport) and isinstance(sock.socket, _Timed)):
        return sock  # TLS inside of TLS reads and sends through the socket that it was given
    try:
        if type(sock) is _Socket:  # it has no place for our attributes
            timeout = sock.gettimeout()
            ours = DeadlineSocket(sock.family, sock.type, sock.proto, sock.detach())
            ours.settimeout(timeout)
            return ours
        if isinstance(sock, _Socket):
            kind = DeadlineSSLSocket if isinstance(sock, ssl.SSLSocket) else DeadlineSocket
            return compat.become(sock, with_deadlines(type(sock), kind))
    except TypeError:  # laid out differently
        pass
    if _is_pretended(sock):
        return sock
    sock.close()
    raise CannotKeepDeadline(_UNKNOWN.format(_name_of(type(sock))))


def refuse_late_patch() -> None:
    """Raise `CannotKeepDeadline` where gevent has patched sockets after ours were made."""
    if socket.socket is not _Socket and origin_of(socket.socket) in PATCHERS:
        raise CannotKeepDeadline(_PATCHED_LATE.format(origin_of(socket.socket)))


def refuse_pyopenssl(kind: type) -> None:
    """Raise `CannotKeepDeadline` for its class of TLS contexts: before a connection is made, not after."""
    if origin_of(kind, parts=3) == "urllib3.contrib.pyopenssl":
        raise CannotKeepDeadline(
            "pyOpenSSL has taken the place of ssl, and its sockets cannot keep the deadline of an attempt: do not call "
            "urllib3.contrib.pyopenssl.inject_into_urllib3(), or undo it with extract_from_urllib3() (urllib3 has "
            "deprecated it, and ssl does all that it did)"
        )


def _is_pretended(sock: Any) -> bool:
    """Say whether a test tool hands this out, or might: an object with no descriptor, and so no server, behind it."""
    if origin_of(type(sock)) in _TEST_TOOLS:
        return True
    try:
        descriptor = sock.fileno()
    except Exception:  # noqa: BLE001 - whatever an imitation raises for what it does not imitate
        return True
    return not isinstance(descriptor, int) or descriptor < 0


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
