"""Pages for machines: answered before anything that turns machines away."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from django.http import HttpRequest, HttpResponse

from . import views


class OperationsMiddleware:
    """Answers /metrics and /healthz.

    Prometheus and load balancers call a process by its address, over plain HTTP: ALLOWED_HOSTS and
    SECURE_SSL_REDIRECT would answer them 400 and 301. So this one comes first.
    """

    _VIEWS = MappingProxyType({"/metrics": views.metrics, "/healthz": views.healthz})

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = self._VIEWS.get(request.path_info, self._get_response)
        return view(request)
