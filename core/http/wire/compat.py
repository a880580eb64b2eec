"""Everything that leans on the insides of requests, urllib3, http.client, http.cookiejar and ssl, asserted at import.

A release that renames one of these is refused with an `ImportError` that names the package and its version, instead of
behaving in another way: a body cut short, say, would pass for a whole one. What belongs to PySocks is asserted when
`socks_proxy` is imported.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import inspect
import platform
import re
import ssl
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, TypeVar

import requests
import requests.adapters
import urllib3.connectionpool
import urllib3.response
from requests.cookies import RequestsCookieJar

# Not those of urllib3.connection: this may be imported while vcrpy has put its own there.
from urllib3.connectionpool import HTTPConnection, HTTPSConnection  # type: ignore[attr-defined]
from urllib3.response import DeflateDecoder, GzipDecoder, MultiDecoder

__all__ = ["HTTPConnection", "HTTPSConnection"]

FLOORS: dict[str, tuple[int, ...]] = {
    "requests": (2, 34),
    "urllib3": (2, 6, 3),
    "idna": (3, 7),
    "prometheus-client": (0, 22),
}
"""The oldest versions that are supported, as in pyproject.toml."""
PYSOCKS_FLOOR = (1, 7)
"""Of PySocks, which only those need who use SOCKS proxies."""
_T = TypeVar("_T")


def check_version(package: str, installed: str, floor: tuple[int, ...]) -> None:
    """Raise `ImportError` where `package` is older than `floor`."""
    found = tuple(int(part) for part in re.findall(r"\d+", installed)[: len(floor)])
    if found < floor:
        wanted = ".".join(map(str, floor))
        raise ImportError(f"{package} {installed} is too old for core.http: install {package}>={wanted}")


def require(package: str, installed: str, what: str, *, present: bool) -> None:
    """Raise `ImportError` unless `what`, of the insides of `package`, is there."""
    if not present:
        raise ImportError(
            f"core.http relies on {what} of {package}, which {package} {installed} does not have: "
            f"install a release of {package} that core.http was tested with (see its lock file), or a newer core.http"
        )


def _takes(function: Any, *names: str) -> bool:
    return callable(function) and set(names) <= set(inspect.signature(function).parameters)


def _check() -> None:
    urllib3_version = urllib3.__version__  # type: ignore[attr-defined]  # it is there
    if re.match(r"\d+\.\d+\.9\d\d", urllib3_version):  # how its releases are numbered
        raise ImportError(
            "urllib3-future has taken the place of urllib3 (niquests installs it): core.http needs the real one. "
            "Uninstall urllib3-future and reinstall urllib3."
        )
    for package, floor in FLOORS.items():
        check_version(package, urllib3_version if package == "urllib3" else version(package), floor)

    pool = urllib3.connectionpool.HTTPConnectionPool
    adapter_attrs = set(requests.adapters.HTTPAdapter.__attrs__)
    pool_options = {"_pool_connections", "_pool_maxsize", "_pool_block"}
    response, prepared = requests.Response(), requests.PreparedRequest()
    insides = {
        "Response._content": getattr(response, "_content", None) is False,
        "Response._content_consumed": getattr(response, "_content_consumed", None) is False,
        "PreparedRequest._body_position": hasattr(prepared, "_body_position"),
        "PreparedRequest._cookies": hasattr(prepared, "_cookies"),
        "HTTPAdapter._pool_connections, _pool_maxsize and _pool_block": pool_options <= adapter_attrs,
    }
    for what, present in insides.items():
        require("requests", version("requests"), what, present=present)

    gzip, deflate, several = GzipDecoder(), DeflateDecoder(), MultiDecoder("gzip, deflate")
    insides = {
        "HTTPConnection._new_conn": _takes(getattr(pool.ConnectionCls, "_new_conn", None), "self"),
        "HTTPConnection._dns_host": hasattr(pool.ConnectionCls("localhost"), "_dns_host"),
        "HTTPConnectionPool._get_conn": _takes(getattr(pool, "_get_conn", None), "timeout"),
        "HTTPResponse._decoder": hasattr(urllib3.response.HTTPResponse(b""), "_decoder"),
        "GzipDecoder._state": getattr(gzip, "_state", None) == 0,
        "GzipDecoder._obj": getattr(getattr(gzip, "_obj", None), "eof", None) is False,
        "DeflateDecoder._obj": getattr(getattr(deflate, "_obj", None), "eof", None) is False,
        "MultiDecoder._decoders": len(getattr(several, "_decoders", ())) == 2,
    }
    for what, present in insides.items():
        require("urllib3", urllib3_version, what, present=present)

    answer = http.client.HTTPResponse
    insides = {
        "http.client.HTTPResponse._safe_read": _takes(getattr(answer, "_safe_read", None), "amt"),
        "http.client.HTTPResponse._read_status": _takes(getattr(answer, "_read_status", None), "self"),
        "http.client.HTTPResponse._close_conn": _takes(getattr(answer, "_close_conn", None), "self"),
        "http.cookiejar.CookieJar._policy": hasattr(http.cookiejar.CookieJar(), "_policy"),
        "ssl.SSLSocket._sslobj": "_sslobj" in ssl.SSLSocket.read.__code__.co_names,
    }
    for what, present in insides.items():
        require("Python", platform.python_version(), what, present=present)


_check()


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


def is_cut_short(raw: Any) -> bool:
    """Say whether a gzip or deflate stream lacks its end, which urllib3 takes no notice of.

    Brotli streams do not tell; of zstd urllib3 tells itself.
    """
    if type(raw) is not urllib3.response.HTTPResponse and not isinstance(raw, urllib3.response.HTTPResponse):
        return False  # of a mock
    decoder = raw._decoder  # noqa: SLF001
    if decoder is None or raw.tell() == 0:
        return False
    decoders: Sequence[Any] = decoder._decoders if isinstance(decoder, MultiDecoder) else (decoder,)  # noqa: SLF001
    return any(_is_unfinished(each) for each in decoders)


def _is_unfinished(decoder: Any) -> bool:
    if isinstance(decoder, GzipDecoder):
        # What follows the first member may be padding: urllib3 leaves it alone, and so do we.
        return decoder._state == 0 and not decoder._obj.eof  # noqa: SLF001
    if isinstance(decoder, DeflateDecoder):
        return not decoder._obj.eof  # noqa: SLF001
    return False


# http.client and ssl


def close_connection(answer: http.client.HTTPResponse) -> None:
    """End an answer that has no body, whatever its headers say."""
    answer._close_conn()  # type: ignore[attr-defined]  # noqa: SLF001


def has_no_session(sock: ssl.SSLSocket) -> bool:
    """Say whether TLS is not begun on `sock`, or over."""
    return getattr(sock, "_sslobj", None) is None


# PySocks


def check_pysocks(socks: Any) -> None:
    """Raise `ImportError` unless `socks` is a PySocks that `socks_proxy` can work with."""
    check_version("PySocks", socks.__version__, PYSOCKS_FLOOR)
    base = socks.socksocket
    negotiators = getattr(base, "_proxy_negotiators", {})
    require(
        "PySocks", socks.__version__, "_proxy_negotiators", present={socks.SOCKS4, socks.SOCKS5} <= set(negotiators)
    )
    writer = getattr(base, "_write_SOCKS5_address", None)
    require("PySocks", socks.__version__, "_write_SOCKS5_address", present=_takes(writer, "addr", "file"))


def negotiate(sock: Any, kind: int, host: str, port: int) -> None:
    """Have a connected `socks.socksocket` ask its proxy for a connection to `host`; it has no public way to do so."""
    sock._proxy_negotiators[kind](sock, host, port)  # noqa: SLF001
