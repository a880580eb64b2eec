"""Accesses private names of requests, urllib3, PySocks and the standard library, and checks them at import.

The checks also include the private methods that other modules of this package override. A release that has renamed one
of them is rejected. Otherwise, for example, a truncated body would be accepted as complete. The names of PySocks are
checked when `socks_proxy` is imported.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import inspect
import os
import platform
import ssl
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import requests
import requests.adapters
import urllib3.response
from requests.cookies import RequestsCookieJar
from requests.exceptions import ContentDecodingError

# Not from urllib3.connection: vcrpy may have replaced the classes there when this module is imported.
from urllib3.connectionpool import HTTPConnection, HTTPConnectionPool, HTTPSConnection  # type: ignore[attr-defined]

from .supported_versions import INSTALLED, check_insides, check_installed, check_version

__all__ = ["HTTPConnection", "HTTPSConnection"]

_T = TypeVar("_T")


def become(thing: Any, kind: type[_T]) -> _T:
    """Change the class of an object to `kind` and return the object. Used where a library cannot create a subclass."""
    thing.__class__ = kind
    became: _T = thing
    return became


# requests


def file_position(request: requests.PreparedRequest) -> int | None:
    """Return the position that the file of the body had when the request was prepared; None: it is no seekable file."""
    position: object = request._body_position
    return position if isinstance(position, int) else None


def is_unread(response: requests.Response) -> bool:
    """Return whether `Response.content` has not been set yet."""
    return response._content is False


def is_consumed(response: requests.Response) -> bool:
    """Return whether the body has been read, with any method of the response."""
    return bool(response._content_consumed)


def set_content(response: requests.Response, content: bytes) -> None:
    """Set `Response.content`."""
    response._content = content
    response._content_consumed = True


def cookies_of(request: requests.PreparedRequest) -> Any:
    """Return the cookie jar for the redirects of `request`; None: it has no cookie jar."""
    return request._cookies


def set_cookies(request: requests.PreparedRequest, jar: RequestsCookieJar) -> None:
    """Set the cookie jar for the redirects of `request`."""
    request._cookies = jar


def has_cookies(jar: RequestsCookieJar) -> bool:
    """Return whether a jar contains cookies. It is faster than `len`, which iterates over all of them."""
    return bool(jar._cookies)  # type: ignore[attr-defined]


def cookie_policy_of(jar: Any) -> object:
    """Return the policy of a cookie jar; None: `jar` is not an `http.cookiejar.CookieJar`."""
    return jar._policy if isinstance(jar, http.cookiejar.CookieJar) else None  # type: ignore[attr-defined]


def pool_options_of(adapter: requests.adapters.HTTPAdapter) -> dict[str, Any]:
    """Return the pool options of `adapter`, as keyword arguments of `urllib3.PoolManager`."""
    options: Any = adapter
    return {
        "num_pools": options._pool_connections,
        "maxsize": options._pool_maxsize,
        "block": options._pool_block,
    }


# urllib3


def name_of(connection: Any) -> str:
    """Return the host name that `connection` resolves, with the trailing root dot, which its `host` does not have."""
    name: str = connection._dns_host
    return name


def socks_options_of(connection: Any) -> dict[str, Any]:
    """Return the proxy options of a connection of `urllib3.contrib.socks`."""
    return dict(connection._socks_options)


def _gzip_lacks_end(decoder: Any) -> bool:
    if decoder._obj.eof:
        return False
    if decoder._state == 0:  # in the first member
        return True
    # The bytes after a member may be another member, or padding, which urllib3 ignores without an error. zlib reports
    # "incorrect header" for everything except a member. It needs two bytes for this, so one byte is added.
    try:
        decoder._obj.copy().decompress(b"\x8b")
    except zlib.error as exc:
        return "incorrect header check" not in str(exc)
    return True


_LACKS_END: dict[str, Callable[[Any], bool]] = {
    "GzipDecoder": _gzip_lacks_end,
    "DeflateDecoder": lambda decoder: not decoder._obj.eof,
    "ZstdDecoder": lambda decoder: not decoder._obj.eof,
    "BrotliDecoder": lambda decoder: not decoder._obj.is_finished(),
}
"""For each decoder of urllib3: a function that returns whether the stream that was decoded so far is incomplete."""
_DECODERS = {name: getattr(urllib3.response, name) for name in _LACKS_END if hasattr(urllib3.response, name)}
"""The available decoders. Those for zstd and brotli need packages that may be missing."""


def is_cut_short(raw: Any) -> bool:
    """Return whether a compressed stream is truncated, which urllib3 does not check.

    :raises ContentDecodingError: if the decoder is unknown, so that this cannot be determined.
    """
    if not isinstance(raw, urllib3.response.HTTPResponse):
        return False  # `raw` belongs to a mock
    decoder: Any = raw._decoder
    # (Not by `tell`, which does not count chunks. A body without bytes cannot be incomplete.)
    if decoder is None or not raw._has_decoded_content:
        return False
    return lacks_end(decoder)


def lacks_end(decoder: Any) -> bool:
    """Return whether the stream that a urllib3 decoder has decoded so far is incomplete. Raises as `is_cut_short`."""
    if isinstance(decoder, urllib3.response.MultiDecoder):
        return any(map(lacks_end, decoder._decoders))
    for name, kind in _DECODERS.items():
        if isinstance(decoder, kind):
            return _LACKS_END[name](decoder)
    raise ContentDecodingError(f"core.http cannot tell whether {type(decoder).__name__} decoded the whole body")


# The standard library


def close_connection(answer: http.client.HTTPResponse) -> None:
    """End a response that has no body, although its headers may announce one."""
    answer._close_conn()  # type: ignore[attr-defined]


def environment_variables() -> dict[Any, Any]:
    """Return the dictionary of the environment variables. Callers must not change it, but it may change."""
    environment: Any = os.environ
    variables: dict[Any, Any] = environment if isinstance(environment, dict) else environment._data
    return variables


def has_no_session(sock: ssl.SSLSocket) -> bool:
    """Return whether `sock` has no TLS session, because it has not begun or has ended."""
    return sock._sslobj is None  # type: ignore[attr-defined]


# PySocks


def negotiate(sock: Any, kind: int, host: str, port: int) -> None:
    """Request a connection to `host` from the proxy to which `sock`, a `socks.socksocket`, is connected."""
    sock._proxy_negotiators[kind](sock, host, port)


# The checks at import


def check_pysocks(socks: Any, socks_connection: Any) -> None:
    """Raise `ImportError` unless `socks_proxy` can work with PySocks and with urllib3's `SOCKSConnection`."""
    check_version("PySocks", socks.__version__)
    base = socks.socksocket
    negotiators = {socks.SOCKS4, socks.SOCKS5}
    insides = {
        "socksocket._proxy_negotiators": negotiators <= set(getattr(base, "_proxy_negotiators", ())),
        "socksocket._write_SOCKS5_address": _takes(base, "_write_SOCKS5_address", "self", "addr", "file"),
    }
    check_insides("PySocks", socks.__version__, insides)
    takes_options = "_socks_options" in inspect.signature(socks_connection).parameters
    check_insides("urllib3", INSTALLED["urllib3"], {"SOCKSConnection._socks_options": takes_options})


def _check() -> None:
    check_installed()
    check_insides("requests", INSTALLED["requests"], _of_requests())
    check_insides("urllib3", INSTALLED["urllib3"], _of_urllib3())
    check_insides("Python", platform.python_version(), _of_python())


def _of_requests() -> dict[str, bool]:
    response, prepared = requests.Response(), requests.PreparedRequest()
    return {
        "Response._content": getattr(response, "_content", None) is False,
        "Response._content_consumed": getattr(response, "_content_consumed", None) is False,
        "Response.__class__": _takes_class(response),
        "PreparedRequest._body_position": hasattr(prepared, "_body_position"),
        "PreparedRequest._cookies": hasattr(prepared, "_cookies"),
        **{
            f"HTTPAdapter.{name}": name in requests.adapters.HTTPAdapter.__attrs__
            for name in ("_pool_connections", "_pool_maxsize", "_pool_block")
        },
    }


def _of_urllib3() -> dict[str, bool]:
    body = urllib3.response.HTTPResponse
    answer = body(b"")
    decoded = ("self", "data", "decode_content", "flush_decoder", "max_length")
    base, multi = urllib3.response.ContentDecoder, urllib3.response.MultiDecoder
    found = {
        name
        for name, kind in vars(urllib3.response).items()
        if isinstance(kind, type) and issubclass(kind, base) and kind not in {base, multi}
    }
    return {
        "HTTPConnection._new_conn": _takes(HTTPConnection, "_new_conn", "self"),
        "HTTPConnection._dns_host": hasattr(HTTPConnection("localhost"), "_dns_host"),
        "HTTPConnectionPool._get_conn": _takes(HTTPConnectionPool, "_get_conn", "self", "timeout"),
        "HTTPConnectionPool._put_conn": _takes(HTTPConnectionPool, "_put_conn", "self", "conn"),
        "HTTPResponse._decode": _takes(body, "_decode", *decoded),
        "HTTPResponse._decoder": hasattr(answer, "_decoder"),
        "HTTPResponse._flush_decoder": _takes(body, "_flush_decoder", "self"),
        "HTTPResponse._has_decoded_content": getattr(answer, "_has_decoded_content", None) is False,
        "HTTPResponse.__class__": _takes_class(answer),
        "MultiDecoder._decoders": len(getattr(multi("gzip, deflate"), "_decoders", ())) == 2,
        **{f"{name} with a known end": _tells_its_end(name) for name in {"DeflateDecoder", "GzipDecoder", *found}},
    }


def _of_python() -> dict[str, bool]:
    answer = http.client.HTTPResponse
    environment: Any = os.environ  # tests may have replaced it by a plain dictionary
    return {
        "http.client.HTTPResponse._safe_read": _takes(answer, "_safe_read", "self", "amt"),
        "http.client.HTTPResponse._read_status": _takes(answer, "_read_status", "self"),
        "http.client.HTTPResponse._close_conn": _takes(answer, "_close_conn", "self"),
        "http.cookiejar.CookieJar._cookies": getattr(http.cookiejar.CookieJar(), "_cookies", None) == {},
        "http.cookiejar.CookieJar._policy": hasattr(http.cookiejar.CookieJar(), "_policy"),
        "os.environ._data": isinstance(getattr(environment, "_data", environment), dict),
        # Instances have the attribute only once they are connected.
        "ssl.SSLSocket._sslobj": "_sslobj" in inspect.unwrap(ssl.SSLSocket.read).__code__.co_names,
        "ssl.SSLSocket.__class__": _takes_class(ssl.SSLSocket.__new__(ssl.SSLSocket)),
    }


def _takes(owner: object, name: str, *parameters: str) -> bool:
    """Return whether `owner` has a method `name` with exactly these parameters."""
    method = getattr(owner, name, None)
    return callable(method) and tuple(inspect.signature(method).parameters) == parameters


def _takes_class(thing: object) -> bool:
    """Return whether the class of `thing` can be changed to a subclass."""
    try:
        become(thing, type("Subclass", (type(thing),), {}))
    except TypeError:  # they are laid out differently
        return False
    return True


def _tells_its_end(name: str) -> bool:
    """Return whether a decoder is known, and reports an incomplete stream before it has decoded anything."""
    try:
        return _LACKS_END[name](_DECODERS[name]())
    except (AttributeError, KeyError):
        return False


_check()
