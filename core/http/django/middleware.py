"""The middleware that serves /metrics and /healthz before other middleware can refuse the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import TypeAlias

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from . import views

_GetResponse: TypeAlias = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class OperationsMiddleware:
    """Serves /metrics and /healthz.

    This middleware must come first in MIDDLEWARE. Prometheus and load balancers call a process by its IP address, over
    plain HTTP, and would get status 400 because of ALLOWED_HOSTS, or 301 because of SECURE_SSL_REDIRECT.

    It is asynchronous if the next middleware is asynchronous, so that Django does not run it in a thread.
    """

    sync_capable = True
    async_capable = True
    _VIEWS = MappingProxyType({"/metrics": views.metrics, "/healthz": views.healthz})

    def __init__(self, get_response: _GetResponse) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        view = self._VIEWS.get(request.path_info)
        if view is None:
            return self._get_response(request)
        return sync_to_async(view)(request) if self._is_async else view(request)
