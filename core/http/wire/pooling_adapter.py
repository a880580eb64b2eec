"""An adapter whose connections enforce deadlines, and share one TLS context for each set of TLS settings."""

from __future__ import annotations

import ssl
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidProxyURL, InvalidURL
from requests.utils import select_proxy
from urllib3 import PoolManager, proxy_from_url
from urllib3.util import parse_url

from .. import fork
from . import compat, tls_contexts
from .connections import POOLS
from .fast_adapter import FastAdapter, is_patched
from .pool_keys import PoolKeys

_TLS_SETTINGS = frozenset(
    {
        "assert_fingerprint",
        "assert_hostname",
        "ca_cert_data",
        "ca_cert_dir",
        "ca_certs",
        "cert_file",
        "ciphers",
        "key_file",
        "key_password",
        "server_hostname",
        "ssl_context",
        "ssl_maximum_version",
        "ssl_minimum_version",
        "ssl_version",
    }
)


class PoolingAdapter(FastAdapter):
    """An `HTTPAdapter` that uses this package's pools and TLS contexts."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS
        self._keys = PoolKeys(self.poolmanager)
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self.proxy_manager = {}
        options = compat.pool_options_of(self)
        self.init_poolmanager(options["num_pools"], options["maxsize"], block=options["block"])

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        try:
            manager = super().proxy_manager_for(proxy, **kwargs)
        except requests.RequestException:  # some of them are also ValueErrors
            raise
        except ValueError as exc:  # an unknown version of SOCKS
            raise InvalidProxyURL(exc) from exc
        if not known:
            manager.pool_classes_by_scheme = _pools_through(proxy)
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        try:
            return super().proxy_headers(proxy)
        except UnicodeError:
            raise InvalidProxyURL("The proxy's user name or password has characters outside Latin-1") from None

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool as requests does, but with a separate TLS context for the connection to an https proxy."""
        if not proxies:
            return self._direct_pool(request, verify, cert)
        proxy = select_proxy(request.url or "", proxies)
        if proxy:
            _check_host(request)
        where = parse_url(proxy) if proxy else None
        if not proxy or where is None or where.scheme != "https" or not where.host:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        context = _context(request, verify, None)
        managers: dict[Any, Any] = self.proxy_manager
        key = (proxy, context)  # calls may differ in how they verify the proxy
        if key not in managers:
            managers[key] = proxy_from_url(
                proxy,
                proxy_headers=self.proxy_headers(proxy),
                proxy_ssl_context=context,
                **compat.pool_options_of(self),
            )
            managers[key].pool_classes_by_scheme = POOLS
        host, pool = self.build_connection_pool_key_attributes(request, verify, cert)
        return managers[key].connection_from_host(**host, pool_kwargs=pool)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the attributes as requests does, but with one TLS context for each set of TLS settings."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https" and not self._has_tls_of_its_own:
            try:
                context = _context(request, verify, cert)
            except OSError:
                super().cert_verify(SimpleNamespace(), request.url or "", verify, cert)  # names the missing file
                raise
            pool = {"cert_reqs": "CERT_REQUIRED" if verify else "CERT_NONE", "ssl_context": context}
        return host, pool

    def _direct_pool(self, request: requests.PreparedRequest, verify: Any, cert: Any) -> Any:
        where = self._where(request.url, verify, cert)
        if where is None:
            return super().get_connection_with_tls_context(request, verify, None, cert)
        pool = self._keys.find(where)
        if pool is None:
            try:
                host, options = self.build_connection_pool_key_attributes(request, verify, cert)
            except ValueError as exc:
                raise InvalidURL(exc, request=request) from exc
            pool = self.poolmanager.connection_from_host(**host, pool_kwargs=options)
            self._keys.add(where, host, options)
        return pool

    def _where(self, url: Any, verify: Any, cert: Any) -> tuple[object, ...] | None:
        """Return the origin and TLS context of a pool; None if the pool may depend on other settings, too."""
        if (
            type(url) is not str
            or is_patched()
            or type(self.poolmanager) is not PoolManager
            or self._keys.manager is not self.poolmanager
            or type(self).build_connection_pool_key_attributes is not _POOL_ATTRIBUTES
            or self._has_tls_of_its_own
        ):
            return None
        scheme, netloc, *_ = urlsplit(url)
        if "@" in netloc:  # do not cache secrets
            return None
        if scheme == "http":
            return scheme, netloc
        try:
            return (scheme, netloc, tls_contexts.context(verify, cert)) if scheme == "https" else None
        except OSError:  # `build_connection_pool_key_attributes` raises an error that names the missing file
            return None

    @property
    def _has_tls_of_its_own(self) -> bool:
        """Whether a subclass has passed TLS settings to `init_poolmanager`. Then urllib3 applies them."""
        return not _TLS_SETTINGS.isdisjoint(self.poolmanager.connection_pool_kw)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Set whether `conn` verifies the server, as requests does. Files are not loaded: the TLS context has them."""
        if self._has_tls_of_its_own:
            super().cert_verify(conn, url, verify, cert)
            return
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


_POOL_ATTRIBUTES = PoolingAdapter.build_connection_pool_key_attributes


def _pools_through(proxy: str) -> dict[str, Any]:
    if not proxy.lower().startswith("socks"):
        return POOLS
    from . import socks_proxy  # noqa: PLC0415 - needs PySocks, an optional dependency

    return socks_proxy.POOLS


def _check_host(request: requests.PreparedRequest) -> None:
    """Raise `InvalidURL` for an invalid host name. Without a proxy, the DNS lookup rejects it."""
    host = urlsplit(request.url or "").hostname or ""
    with suppress(UnicodeError):
        host.encode("idna")
        if "%" not in host or ":" in host:  # http.client allows "%" only in the zone of an IPv6 address
            return
    raise InvalidURL("Invalid URL: the host is not a valid name", request=request)


def _context(request: requests.PreparedRequest, verify: Any, cert: Any) -> ssl.SSLContext:
    try:
        return tls_contexts.context(verify, cert)
    except ssl.SSLError as exc:  # the files exist but contain no valid certificate or key
        raise requests.exceptions.SSLError(exc, request=request) from exc
