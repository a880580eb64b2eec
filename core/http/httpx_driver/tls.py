"""TLS contexts that all transports with the same settings share. To load the certificates takes 20 ms or more.

The library itself creates each context, so the same authorities are trusted as without this package.
"""

from __future__ import annotations

import os
import threading
from typing import Any

_made: dict[tuple[object, ...], Any] = {}
_lock = threading.RLock()


def context(httpx: Any, *, verify: Any, cert: Any, trust_env: bool, http1: bool, http2: bool) -> Any:
    """Return the TLS context for the options of an `HTTPTransport`.

    The context is shared if `verify` is True or False and there is no `cert`. Raises the errors of the library for
    files that are missing or invalid.
    """
    if not isinstance(verify, bool) or cert is not None:
        return httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
    files = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if trust_env else ()
    # http1 and http2 are part of the key, because each new connection sets the protocols to negotiate on the context.
    key = (httpx.__name__, verify, files, http1, http2)
    with _lock:
        found = _made.get(key)
        if found is None:
            found = _made[key] = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
    return found
