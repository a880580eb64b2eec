"""All uses of private names of httpx and httpx2. They are checked when `core.http.httpx` or `httpx2` is imported.

Written against httpx 0.28.0 and 0.28.1, and httpx2 2.16.
"""

from __future__ import annotations

import inspect
from typing import Any

from ..wire.compat import become
from ..wire.supported_versions import check_insides, check_version

__all__ = ["become"]


def use_backend(transport: Any, backend: Any) -> None:
    """Make the pool of an `HTTPTransport` connect with `backend`: httpcore has an option for this, httpx does not."""
    transport._pool._network_backend = backend


def connections_of(transport: Any) -> list[Any]:
    """Return the connections in the pool of an `HTTPTransport`; an empty list for other transports."""
    pool = getattr(transport, "_pool", None)
    return [] if pool is None else list(pool.connections)


def retire(transport: Any, httpcore: Any, url: Any) -> None:
    """Prevent new requests on HTTP/2 connections to the origin of `url`. The calls that use them continue.

    To be called after an attempt was cut off, because its connection may be dead. Also, httpcore does not reset the
    stream, so the rest of the response uses up the flow-control window of all other streams. (HTTP/1.1 connections are
    closed.)
    """
    for connection in connections_of(transport):
        inner: Any = getattr(connection, "_connection", None)
        if not hasattr(inner, "_h2_state"):
            continue
        asked = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/")
        if connection.can_handle_request(asked.origin):
            inner._connection_error = True


def is_read(response: Any) -> bool:
    """Return whether `Response.content` is set."""
    return hasattr(response, "_content")


def content_of(response: Any) -> bytes:
    """Return the body of a response that has been read."""
    content: bytes = response._content
    return content


def set_content(response: Any, content: bytes, downloaded: int) -> None:
    """Set the decoded body of a response, and the number of bytes that were received for it."""
    response._content = content
    response._num_bytes_downloaded = downloaded
    response.is_stream_consumed = True


def request_of(error: Any) -> Any:
    """Return the request of an httpx error; None if it has none, for which the public property would raise."""
    return error._request


def accept_encoding(httpx: Any) -> str:
    """Return the default Accept-Encoding header of the library's clients."""
    value: str = httpx._client.ACCEPT_ENCODING
    return value


def has_request_content(request: Any) -> bool:
    """Return whether the body of a request is in memory."""
    return hasattr(request, "_content")


def check(httpx: Any) -> None:
    """Raise `ImportError` if the installed httpx or httpx2 lacks a name that this driver uses."""
    name, version = httpx.__name__, httpx.__version__
    check_version(name, version)
    response = httpx.Response(200, content=b"x")
    transport = httpx.HTTPTransport(verify=False)
    init = ("self", "verify", "cert", "trust_env", "http1", "http2", "limits")
    found = {
        "HTTPTransport._pool": hasattr(transport, "_pool"),
        "ConnectionPool._network_backend": hasattr(getattr(transport, "_pool", None), "_network_backend"),
        "Response._content": getattr(response, "_content", None) == b"x",
        "Response._num_bytes_downloaded": hasattr(response, "_num_bytes_downloaded"),
        "Response.__class__": type(response).__dictoffset__ != 0,
        "Request._content": hasattr(httpx.Request("POST", "http://localhost/", content=b"x"), "_content"),
        "_client.ACCEPT_ENCODING": hasattr(getattr(httpx, "_client", None), "ACCEPT_ENCODING"),
        "HTTPError._request": hasattr(httpx.HTTPError("x"), "_request"),
    }
    for kind in (httpx.Client, httpx.AsyncClient):
        found |= {
            f"{kind.__name__}._init_transport": _takes(kind, "_init_transport", *init, "transport"),
            f"{kind.__name__}._init_proxy_transport": _takes(kind, "_init_proxy_transport", "self", "proxy", *init[1:]),
            f"{kind.__name__}._build_redirect_request": _takes(
                kind, "_build_redirect_request", "self", "request", "response"
            ),
            f"{kind.__name__}._merge_url": _takes(kind, "_merge_url", "self", "url"),
        }
    check_insides(name, version, found)


def _takes(owner: object, name: str, *parameters: str) -> bool:
    method = getattr(owner, name, None)
    return callable(method) and tuple(inspect.signature(method).parameters) == parameters
