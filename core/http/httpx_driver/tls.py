"""Shared TLS contexts, one for all transports with the same settings: loading the certificates takes 20 ms or more.

The library itself creates each context, so the same authorities are trusted as without this package.
"""

from __future__ import annotations

import os
import threading
from typing import Any

_made: dict[tuple[object, ...], Any] = {}
_lock = threading.RLock()


def context(httpx: Any, *, verify: Any, cert: Any, trust_env: bool, http1: bool, http2: bool) -> Any:
    """Return the context for the options of an `HTTPTransport`: a shared one for ``verify=True`` and ``verify=False``.

    Raises the library's errors for files that are missing or invalid.
    """
    if not isinstance(verify, bool) or cert is not None:
        return httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
    files = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if trust_env else ()
    # Part of the key, because each new connection sets the protocols for TLS to negotiate on the context.
    key = (httpx.__name__, verify, files, http1, http2)
    with _lock:
        found = _made.get(key)
        if found is None:
            found = _made[key] = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
    return found
