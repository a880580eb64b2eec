"""Everything that leans on the insides of requests, urllib3, PySocks, http.client, http.cookiejar and ssl.

Each private name is asserted at import, after the versions, so that a release that renames one is refused. Otherwise a
body that was cut short, say, would pass for a whole one. What belongs to PySocks is asserted when `socks_proxy` is
imported.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import inspect
import platform
import ssl
import zlib
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, TypeVar

import requests
import requests.adapters
import urllib3.response
from requests.cookies import RequestsCookieJar
from requests.exceptions import ContentDecodingError

# Not those of urllib3.connection: this may be imported while vcrpy has put its own there.
from urllib3.connectionpool import HTTPConnection, HTTPConnectionPool, HTTPSConnection  # type: ignore[attr-defined]

from .supported_versions import INSTALLED, check_insides, check_installed, check_version

__all__ = ["HTTPConnection", "HTTPSConnection"]

_T = TypeVar("_T")


def become(thing: Any, kind: type[_T]) -> _T:
    """Make an object that another library created an instance of our subclass; the library has no hook for one."""
    thing.__class__ = kind
    became: _T = thing
    return became


# requests


def file_position(request: requests.PreparedRequest) -> int | None:
    """Return where the file that is the body stood when the request was prepared; None: the body is no such file."""
    position: object = request._body_position  # noqa: SLF001
    return position if isinstance(position, int) else None


def is_unread(response: requests.Response) -> bool:
    """Say whether nothing has been put into `Response.content` yet."""
    return response._content is False  # noqa: SLF001


def is_consumed(response: requests.Response) -> bool:
    """Say whether the body has been read, by whichever way."""
    return bool(response._content_consumed)  # noqa: SLF001


def set_content(response: requests.Response, content: bytes) -> None:
    """Put `content` into `Response.content`."""
    response._content = content  # noqa: SLF001
    response._content_consumed = True  # noqa: SLF001


def cookies_of(request: requests.PreparedRequest) -> Any:
    """Return the jar that the redirects of `request` take their cookies from; None: it has none."""
    return request._cookies  # noqa: SLF001


def set_cookies(request: requests.PreparedRequest, jar: RequestsCookieJar) -> None:
    """Let the redirects of `request` take their cookies from `jar`."""
    request._cookies = jar  # noqa: SLF001


def has_cookies(jar: RequestsCookieJar) -> bool:
    """Say whether there is anything in a jar: its length costs an iteration over all of it."""
    return bool(jar._cookies)  # type: ignore[attr-defined]  # noqa: SLF001


def cookie_policy_of(jar: Any) -> object:
    """Return the policy of a cookie jar; None for a jar of another kind."""
    return jar._policy if isinstance(jar, http.cookiejar.CookieJar) else None  # type: ignore[attr-defined]  # noqa: SLF001


def pool_options_of(adapter: requests.adapters.HTTPAdapter) -> dict[str, Any]:
    """Return what the pools of `adapter` were made with, as `urllib3.PoolManager` takes it."""
    options: Any = adapter
    return {
        "num_pools": options._pool_connections,  # noqa: SLF001
        "maxsize": options._pool_maxsize,  # noqa: SLF001
        "block": options._pool_block,  # noqa: SLF001
    }


# urllib3


def name_of(connection: Any) -> str:
    """Return the name that `connection` looks up: with the root dot, which `host` lacks."""
    name: str = connection._dns_host  # noqa: SLF001
    return name


def socks_options_of(connection: Any) -> dict[str, Any]:
    """Return how a connection of `urllib3.contrib.socks` reaches its proxy."""
    return dict(connection._socks_options)  # noqa: SLF001


def _gzip_lacks_end(decoder: Any) -> bool:
    if decoder._obj.eof:  # noqa: SLF001
        return False
    if decoder._state == 0:  # noqa: SLF001 - in the first member
        return True
    # What follows may be another member, or padding, on which urllib3 gives up without an error. zlib can tell: what
    # does not begin as a member has an "incorrect header". A single byte is too short for that, hence the second.
    try:
        decoder._obj.copy().decompress(b"\x8b")  # noqa: SLF001
    except zlib.error as exc:
        return "incorrect header check" not in str(exc)
    return True


_LACKS_END: dict[str, Callable[[Any], bool]] = {
    "GzipDecoder": _gzip_lacks_end,
    "DeflateDecoder": lambda decoder: not decoder._obj.eof,  # noqa: SLF001
    "ZstdDecoder": lambda decoder: not decoder._obj.eof,  # noqa: SLF001
    "BrotliDecoder": lambda decoder: not decoder._obj.is_finished(),  # noqa: SLF001
}
"""By the name of urllib3's decoder: whether the stream that it has decoded so far lacks its end."""
_DECODERS = {name: getattr(urllib3.response, name) for name in _LACKS_END if hasattr(urllib3.response, name)}
"""Those that there are: zstd and brotli need packages that may be missing."""


def is_cut_short(raw: Any) -> bool:
    """Say whether a compressed stream lacks its end, which urllib3 takes no notice of.

    Raises `ContentDecodingError` for a decoder of which only its author can tell.
    """
    if not isinstance(raw, urllib3.response.HTTPResponse):
        return False  # of a mock
    decoder: Any = raw._decoder  # noqa: SLF001
    # (Not by `tell`, which counts no chunks. And where nothing came there is nothing to be incomplete.)
    if decoder is None or not raw._has_decoded_content:  # noqa: SLF001
        return False
    return lacks_end(decoder)


def lacks_end(decoder: Any) -> bool:
    """Say whether what a decoder of urllib3 has decoded so far lacks its end; raises as `is_cut_short`."""
    if isinstance(decoder, urllib3.response.MultiDecoder):
        return any(map(lacks_end, decoder._decoders))  # noqa: SLF001
    for name, kind in _DECODERS.items():
        if isinstance(decoder, kind):
            return _LACKS_END[name](decoder)
    raise ContentDecodingError(f"core.http cannot tell whether what {type(decoder).__name__} decoded is complete")


# prometheus_client, whose checks cost more than the counting; without these names, its public methods do it


def inner(metric: Any, method: str) -> Callable[[float], object]:
    """Return what "inc" or "set" of a counter or gauge that has its labels comes down to."""
    return getattr(getattr(metric, "_value", metric), method)  # type: ignore[no-any-return]


def inner_observe(histogram: Any) -> Callable[[float], object]:
    """Return what `observe` of a histogram that has its labels comes down to."""
    whole, buckets, bounds = (getattr(histogram, name, None) for name in ("_sum", "_buckets", "_upper_bounds"))
    if not (whole and buckets and bounds):
        return histogram.observe  # type: ignore[no-any-return]
    add, adders = whole.inc, [bucket.inc for bucket in buckets]
    return lambda amount: (add(amount), adders[bisect_left(bounds, amount)](1))


# http.client and ssl


def close_connection(answer: http.client.HTTPResponse) -> None:
    """End an answer that has no body, whatever its headers say."""
    answer._close_conn()  # type: ignore[attr-defined]  # noqa: SLF001


def has_no_session(sock: ssl.SSLSocket) -> bool:
    """Say whether TLS is not begun on `sock`, or over."""
    return sock._sslobj is None  # type: ignore[attr-defined]  # noqa: SLF001


# PySocks


def negotiate(sock: Any, kind: int, host: str, port: int) -> None:
    """Have a connected `socks.socksocket` ask its proxy for a connection to `host`; it has no public way to do so."""
    sock._proxy_negotiators[kind](sock, host, port)  # noqa: SLF001


# What is asserted


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
    return {
        "http.client.HTTPResponse._safe_read": _takes(answer, "_safe_read", "self", "amt"),
        "http.client.HTTPResponse._read_status": _takes(answer, "_read_status", "self"),
        "http.client.HTTPResponse._close_conn": _takes(answer, "_close_conn", "self"),
        "http.cookiejar.CookieJar._cookies": getattr(http.cookiejar.CookieJar(), "_cookies", None) == {},
        "http.cookiejar.CookieJar._policy": hasattr(http.cookiejar.CookieJar(), "_policy"),
        # Without a connection there is no instance that has it.
        "ssl.SSLSocket._sslobj": "_sslobj" in inspect.unwrap(ssl.SSLSocket.read).__code__.co_names,
        "ssl.SSLSocket.__class__": _takes_class(ssl.SSLSocket.__new__(ssl.SSLSocket)),
    }


def _takes(owner: object, name: str, *parameters: str) -> bool:
    """Say whether `owner` has a method of that name with just these parameters, as we call and override it."""
    method = getattr(owner, name, None)
    return callable(method) and tuple(inspect.signature(method).parameters) == parameters


def _takes_class(thing: object) -> bool:
    """Say whether `thing` can become an instance of a subclass."""
    try:
        become(thing, type("Subclass", (type(thing),), {}))
    except TypeError:  # they are laid out differently
        return False
    return True


def _tells_its_end(name: str) -> bool:
    """Say whether a decoder is known, and found to lack its end before it has decoded anything."""
    try:
        return _LACKS_END[name](_DECODERS[name]())
    except (AttributeError, KeyError):
        return False


_check()
