"""One attempt with requests and urllib3, cut off hard; what goes wrong is a requests error without secrets."""

from __future__ import annotations

import ssl
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.exceptions import InvalidProxyURL, InvalidURL
from requests.utils import select_proxy
from urllib3 import proxy_from_url
from urllib3.util import parse_url

from .. import fork
from ..engine.response_classification import answered
from ..origin import origin_of
from ..outcome import Outcome, Reason
from ..policy import Policy
from . import (
    address_guard,
    compat,
    redaction,
    response_body,
    response_verdict,
    timeouts,
    tls_contexts,
    unexpected_errors,
)
from .attempt_context import AttemptContext, Stage
from .connections import POOLS
from .error_chain import chain
from .error_outcomes import diagnose
from .plain_adapter import PlainAdapter
from .requests_exceptions import (
    AttemptBodyTimeout,
    AttemptConnectTimeout,
    AttemptReadTimeout,
    AttemptTimeout,
    BlockedAddress,
    HeadTruncated,
    UnsupportedSocket,
)
from .requests_response import ResilientResponse
from .sockets import CannotKeepDeadline
from .strict_response import HeadCutShort

BLOCKED = "The URL leads to an address that may not be fetched"
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
_CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")


class DeadlineAdapter(PlainAdapter):
    """An `HTTPAdapter` on pools and TLS contexts of which every socket keeps the deadline of its attempt."""

    untrusted = False
    """A user submitted the URLs: only public addresses may be reached."""

    def attempt(
        self,
        request: requests.PreparedRequest,
        policy: Policy,
        *,
        seconds: float,
        configured: bool,
        fresh: bool,
        stream: bool,
        timeout: Any,
        verify: Any,
        cert: Any,
        proxies: Any,
    ) -> tuple[requests.Response | requests.RequestException, Outcome]:
        """Make one attempt, the body included unless `stream`. Returns the answer or the error, and what it means."""
        handled = sys.exception()
        context = AttemptContext(seconds, configured=configured, untrusted=self.untrusted, fresh=fresh)
        try:
            with context:
                bounded = timeouts.bounded(timeout, seconds)
                response = self._send_once(request, policy, stream, bounded, verify, cert, proxies)
        except address_guard.Refused:
            error: requests.RequestException = BlockedAddress(BLOCKED, request=request)
        except CannotKeepDeadline as exc:
            error = UnsupportedSocket(str(exc), request=request)
        except requests.RequestException as exc:
            error = exc
        except Exception as exc:
            if (translated := unexpected_errors.of_attempt(exc, context.stage, request)) is None:
                raise
            error = translated
            del translated  # as below
        else:
            return response, answered(
                response.status_code,
                response.headers,
                retry_statuses=policy.retry_statuses,
                now=datetime.now(UTC),
                verdict=response_verdict.of_requests(policy.classify, response, stream=stream),
            )
        outcome = diagnose(error, context.stage, handled)
        if outcome.transient and context.got_nothing:
            outcome = replace(outcome, stale=True)
        if outcome.reason is Reason.TIMEOUT:
            outcome = replace(outcome, patience=timeouts.part_of(timeout, context.stage))
        redaction.error(error, _secrets(request, proxies), handled)
        try:
            return _refined(error, outcome, context, handled, request)
        finally:
            del error  # or its traceback and this frame keep each other, and all that was read, alive

    def _send_once(
        self, request: requests.PreparedRequest, policy: Policy, stream: bool, *how: Any
    ) -> requests.Response:
        if self.untrusted:
            address_guard.check_port(urlsplit(request.url or ""))
        # Looked up at each attempt: `responses` and others patch HTTPAdapter.send on the class.
        response = super().send(request, stream, *how)
        limit = self.max_bytes(policy)
        if isinstance(response, ResilientResponse):
            response.max_bytes, response.max_json_nodes = limit, policy.max_json_nodes
        if response.is_redirect:
            response_body.read_of_redirect(response, limit)
        elif not stream:
            response_body.read(response, limit)
        return response

    def max_bytes(self, policy: Policy) -> int | None:
        """Return the limit of a body."""
        return policy.max_response_bytes

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self.proxy_manager = {}
        options = compat.pool_options_of(self)
        self.init_poolmanager(options["num_pools"], options["maxsize"], block=options["block"])

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        try:
            manager = super().proxy_manager_for(proxy, **kwargs)
        except requests.RequestException:  # some are ValueErrors too
            raise
        except ValueError as exc:  # a version of SOCKS that there is none of
            raise InvalidProxyURL(exc) from exc
        if not known:
            manager.pool_classes_by_scheme = _pools_through(proxy)
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        try:
            return super().proxy_headers(proxy)
        except UnicodeError:
            raise InvalidProxyURL("The proxy's user name or password is not in Latin-1") from None

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """As in requests; a proxy that is spoken to over TLS has a context of its own for that."""
        proxy = select_proxy(request.url or "", proxies) if proxies else None
        if proxy:
            _check_host(request)
        where = parse_url(proxy) if proxy else None
        if not proxy or where is None or where.scheme != "https" or not where.host:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        context = _context(request, verify, None)
        managers: dict[Any, Any] = self.proxy_manager
        key = (proxy, context)  # what one call accepts of a proxy, another may not
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
        """As in requests, but with one TLS context for all connections that have the same settings."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https" and not self._has_tls_of_its_own:
            try:
                context = _context(request, verify, cert)
            except OSError:
                super().cert_verify(SimpleNamespace(), request.url or "", verify, cert)  # which says what is not there
                raise
            pool = {"cert_reqs": "CERT_REQUIRED" if verify else "CERT_NONE", "ssl_context": context}
        return host, pool

    @property
    def _has_tls_of_its_own(self) -> bool:
        """A subclass has handed TLS settings to `init_poolmanager`: they are for urllib3 to honour, all of them."""
        return not _TLS_SETTINGS.isdisjoint(self.poolmanager.connection_pool_kw)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """As in requests, but the files are not loaded for every connection: they are in the shared context."""
        if self._has_tls_of_its_own:
            super().cert_verify(conn, url, verify, cert)
            return
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


def _pools_through(proxy: str) -> dict[str, Any]:
    if not proxy.lower().startswith("socks"):
        return POOLS
    from . import socks_proxy  # noqa: PLC0415 - needs PySocks, which only those who use it have

    return socks_proxy.POOLS


def _check_host(request: requests.PreparedRequest) -> None:
    """Raise `InvalidURL` for a host that cannot be one. Without a proxy, looking it up does."""
    host = urlsplit(request.url or "").hostname or ""
    with suppress(UnicodeError):
        host.encode("idna")
        if "%" not in host or ":" in host:  # http.client asserts that only the zone of an IPv6 address has one
            return
    raise InvalidURL("Invalid URL: its host is no name", request=request)


def _context(request: requests.PreparedRequest, verify: Any, cert: Any) -> ssl.SSLContext:
    try:
        return tls_contexts.context(verify, cert)
    except ssl.SSLError as exc:  # the files are there, and hold something else
        raise requests.exceptions.SSLError(exc, request=request) from exc


def _refined(
    error: requests.RequestException,
    outcome: Outcome,
    context: AttemptContext,
    handled: BaseException | None,
    request: requests.PreparedRequest,
) -> tuple[requests.RequestException, Outcome]:
    """Say more of what went wrong than requests does, in the same families."""
    if outcome.reason is Reason.TIMEOUT:
        error = _timed_out(error, context, request)
        if isinstance(error, AttemptTimeout):
            outcome = replace(outcome, detail=f"{error.reached}, {error.received} bytes")
    elif any(isinstance(link, HeadCutShort) for link in chain(error, handled)):
        cause, error = error, HeadTruncated(*error.args, request=request)
        error.__cause__ = cause
    return error, outcome


def _timed_out(
    error: requests.RequestException, context: AttemptContext, request: requests.PreparedRequest
) -> requests.RequestException:
    """Return the error for an attempt that ran out of time, which says how far it got."""
    pool = any(isinstance(link, urllib3.exceptions.EmptyPoolError) for link in chain(error))
    if context.stage is Stage.NONE and not pool:
        error.reached, error.received = "", 0  # type: ignore[attr-defined]  # from a mock, but a timeout as any other
        return error
    kind: type[AttemptTimeout] = AttemptReadTimeout
    if context.stage < Stage.SEND:
        kind = AttemptConnectTimeout
    elif context.stage is Stage.BODY:
        kind = AttemptBodyTimeout
    reached = "pool" if pool else context.stage.name.lower()
    timed_out = kind(*error.args, request=request)
    timed_out.reached, timed_out.received = reached, context.received
    timed_out.target = f"{request.method} to {origin_of(request.url or '').netloc}"
    timed_out.__cause__ = error
    return timed_out


def _secrets(request: requests.PreparedRequest, proxies: Any) -> set[str]:
    credentials = [value for name in _CREDENTIALS if isinstance(value := request.headers.get(name), str)]
    return redaction.secrets_of(request.url, *(proxies or {}).values(), headers=credentials)
