"""Shared TLS contexts, one for each set of settings. To create one, with a bundle of 140 certificates, takes 20 ms.

Contexts of another library (truststore, after `inject_into_ssl`) are not shared. As in plain requests, each connection
gets its own context, with the settings of the context of its pool. truststore performs the handshakes of one context
one after another, so with a shared context, a server that does not respond would delay the calls to all other servers.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import urllib3.util.ssl_
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from .. import fork
from . import attempt_context, sockets
from .sockets import DeadlineSSLSocket
from .supported_versions import PATCHERS, origin_of

_MOST = 64
"""Maximum number of contexts that are kept. The oldest are removed first."""
_SIDE_BY_SIDE = {"ssl"} | PATCHERS
"""Packages whose contexts allow several handshakes at once, and create sockets of the class `sslsocket_class`."""


class TurnTimeoutError(TimeoutError):
    """The attempt timed out while other handshakes used the TLS context."""


class _Contexts:
    """The contexts of this process."""

    def __init__(self) -> None:
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._made: OrderedDict[tuple[Any, ...], ssl.SSLContext] = OrderedDict()
        self._turns: WeakKeyDictionary[ssl.SSLContext, threading.Lock] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def get(self, bundle: str | None, files: tuple[str, ...]) -> ssl.SSLContext:
        versions = tuple(_version(path) for path in (bundle, *files) if path)
        key = (_urllib3s_class(), bundle, files, versions)
        with self._lock:
            found = self._made.get(key)
            if found is None:
                found = self._made[key] = _make(bundle, files)
                while len(self._made) > _MOST:
                    self._made.popitem(last=False)
        return found

    def settings_of(self, shared: ssl.SSLContext) -> tuple[str | None, tuple[str, ...]] | None:
        with self._lock:
            return next((key[1:3] for key, made in tuple(self._made.items()) if made is shared), None)

    def turn(self, given: ssl.SSLContext) -> threading.Lock:
        with self._lock:
            return self._turns.setdefault(given, threading.Lock())


_contexts = _Contexts()


def context(verify: bool | str | None, cert: str | tuple[str, str] | None) -> ssl.SSLContext:
    """Return the context for the arguments `verify` and `cert` of requests. Files that changed on disk are read again.

    :raises OSError: if a file cannot be read.
    :raises ssl.SSLError: if a file contains no certificate or key.
    :raises sockets.CannotKeepDeadline: if a patch prevents sockets from enforcing deadlines.
    """
    sockets.refuse_late_patch()
    sockets.refuse_pyopenssl(_urllib3s_class())
    bundle = None  # as in requests, any false value means: do not verify
    if verify:
        bundle = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
    return _contexts.get(bundle, (cert,) if isinstance(cert, str) else tuple(cert or ()))


def for_one_connection(given: Any) -> Any:
    """Return the context for a connection: `given`, or a new equal one if `given` performs one handshake at a time.

    :raises sockets.CannotKeepDeadline: if the context is from pyOpenSSL.
    """
    if given is None:  # urllib3 creates a context
        sockets.refuse_pyopenssl(_urllib3s_class())
        return None
    sockets.refuse_pyopenssl(type(given))
    settings = None if _side_by_side(given) else _contexts.settings_of(given)
    return given if settings is None else _make(*settings)


def in_turn(given: ssl.SSLContext | None, connect: Callable[[], None]) -> None:
    """Call `connect` after the handshakes that other connections have begun with the same context.

    Raises `TurnTimeoutError` if those handshakes take all the time of the attempt. This happens, for example, if a
    signal handler makes a call while it interrupts such a handshake: a second handshake cannot begin, because the lock
    of truststore is not reentrant.
    """
    attempt = attempt_context.current()
    if given is None or attempt is None or _side_by_side(given):
        connect()
        return
    lock = _contexts.turn(given)
    # The loop statement itself acquires the lock. If a signal handler raised between a call of `acquire` and the `try`,
    # the lock would stay held, and every later handshake would time out.
    for taken in iter(partial(lock.acquire, timeout=attempt.left()), None):
        try:
            if not taken:
                raise TurnTimeoutError("the attempt timed out while other handshakes used the same TLS context")
            connect()
        finally:
            if taken:
                lock.release()
        break


def _urllib3s_class() -> Any:
    """Return the class of the contexts that urllib3 creates, which truststore and pyOpenSSL may replace at any time."""
    return urllib3.util.ssl_.SSLContext


def _version(path: str) -> tuple[int, int]:
    stat = os.stat(path)  # noqa: PTH116 - runs at each call, and a Path takes three times as long
    return stat.st_mtime_ns, stat.st_size


def _make(bundle: str | None, files: tuple[str, ...]) -> ssl.SSLContext:
    made = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if bundle else ssl.CERT_NONE)
    if bundle and Path(bundle).is_dir():
        made.load_verify_locations(capath=bundle)
    elif bundle:
        made.load_verify_locations(cafile=bundle)
    if files:
        certificate, key = files[0], files[1] if len(files) > 1 else None
        made.load_cert_chain(certificate, key, password=b"")  # without a password, OpenSSL prompts on the terminal
    if _side_by_side(made):
        made.sslsocket_class = DeadlineSSLSocket
    return made


def _side_by_side(context: ssl.SSLContext) -> bool:
    return origin_of(type(context)) in _SIDE_BY_SIDE
