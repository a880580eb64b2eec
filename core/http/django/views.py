"""The views /metrics and /healthz, for Prometheus and load balancers."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .. import multiprocess
from . import metrics_settings

_NO_DATABASE = "django.db.backends.dummy"
"""The engine of the database `default` if the setting DATABASES is empty."""


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics, or 403 if the request has no token of METRICS_TOKENS.

    Without that setting, all requests are allowed if DEBUG is true, otherwise none.
    """
    if not _may_scrape(request):
        return HttpResponse("403: /metrics needs a bearer token from METRICS_TOKENS\n", "text/plain", 403)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_collected()), content_type)


@login_not_required
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """Return 200 if the database can be reached or the site has none, 503 if the database cannot be reached."""
    if connection.settings_dict["ENGINE"] == _NO_DATABASE:
        return HttpResponse("ok\n", "text/plain")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return HttpResponse("database unreachable\n", "text/plain", 503)
    return HttpResponse("ok\n", "text/plain")


def _collected() -> CollectorRegistry:
    """Return the metrics of this process or, with PROMETHEUS_MULTIPROC_DIR, of all processes that use the directory."""
    directory = os.environ.get(multiprocess.VARIABLE)
    if not directory or not multiprocess.IS_SUPPORTED:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(multiprocess.Collector(Path(directory)))
    return registry


def _may_scrape(request: HttpRequest) -> bool:
    tokens = metrics_settings.tokens()
    if not tokens:
        return bool(settings.DEBUG)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Compare all tokens, each in constant time, so that the duration reveals nothing about the tokens.
    matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)
