"""One TLS context for each set of settings: making one, with a bundle of 140 certificates, takes 20 ms."""

from __future__ import annotations

import ssl
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from .. import fork
from .sockets import DeadlineSSLSocket

_MOST = 64
"""Contexts kept; the oldest go first."""


class _Contexts:
    """The contexts of this process."""

    def __init__(self) -> None:
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._made: OrderedDict[tuple[Any, ...], ssl.SSLContext] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, bundle: str | None, files: tuple[str, ...]) -> ssl.SSLContext:
        key = (bundle, *files, *(_version(path) for path in (bundle, *files) if path))
        with self._lock:
            found = self._made.get(key)
            if found is None:
                found = self._made[key] = _make(bundle, files)
                while len(self._made) > _MOST:
                    self._made.popitem(last=False)
        return found


_contexts = _Contexts()


def context(verify: bool | str | None, cert: str | tuple[str, str] | None) -> ssl.SSLContext:
    """Return the context for requests' `verify` and `cert`. Files that changed on disk are read anew.

    Raises `OSError` for a file that cannot be read, `ssl.SSLError` for one that holds no certificate.
    """
    bundle = None  # as in requests, whatever is false means: do not verify
    if verify:
        bundle = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
    return _contexts.get(bundle, (cert,) if isinstance(cert, str) else tuple(cert or ()))


def with_deadlines(given: ssl.SSLContext) -> ssl.SSLContext:
    """Let the sockets of somebody's own context keep deadlines too, unless it has a socket class of its own."""
    if getattr(given, "sslsocket_class", None) is ssl.SSLSocket:
        given.sslsocket_class = DeadlineSSLSocket
    return given


def _version(path: str) -> tuple[int, int]:
    stat = Path(path).stat()
    return stat.st_mtime_ns, stat.st_size


def _make(bundle: str | None, files: tuple[str, ...]) -> ssl.SSLContext:
    made = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if bundle else ssl.CERT_NONE)
    if bundle and Path(bundle).is_dir():
        made.load_verify_locations(capath=bundle)
    elif bundle:
        made.load_verify_locations(cafile=bundle)
    if files:
        certificate, key = files[0], files[1] if len(files) > 1 else None
        made.load_cert_chain(certificate, key, password=b"")  # without one, OpenSSL would ask on the terminal
    return with_deadlines(made)
