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
"""The engine of the database `default` if a site's DATABASES is empty."""


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics. The request needs a token of METRICS_TOKENS; without that setting, only DEBUG allows it."""
    if not _may_scrape(request):
        return HttpResponse("403: /metrics needs a bearer token from METRICS_TOKENS\n", "text/plain", 403)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_collected()), content_type)


@login_not_required
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """Return 200 if this process reaches its database or the site has none, 503 if it does not reach it."""
    if connection.settings_dict["ENGINE"] == _NO_DATABASE:
        return HttpResponse("ok\n", "text/plain")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return HttpResponse("database unreachable\n", "text/plain", 503)
    return HttpResponse("ok\n", "text/plain")


def _collected() -> CollectorRegistry:
    """Return the metrics of this process; with PROMETHEUS_MULTIPROC_DIR, of all processes that share the directory."""
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
    # Compare all tokens, each in constant time, so that the duration reveals nothing about any of them.
    matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)
