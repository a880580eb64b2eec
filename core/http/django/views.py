"""What operators' machines ask of the site: its metrics, and whether it is alive."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .. import multiprocess


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape: with a token of METRICS_TOKENS where there are any, else only under DEBUG."""
    if not _may_scrape(request):
        return HttpResponse("403: /metrics needs a bearer token from METRICS_TOKENS\n", "text/plain", 403)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_collected()), content_type)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """Answer 200 where this process reaches its database, 503 where it does not."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return HttpResponse("database unreachable\n", "text/plain", 503)
    return HttpResponse("ok\n", "text/plain")


def _collected() -> CollectorRegistry:
    """Return the metrics of this process; with PROMETHEUS_MULTIPROC_DIR, of all processes that share the directory."""
    directory = os.environ.get(multiprocess.VARIABLE)
    if not directory:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(multiprocess.Collector(Path(directory)))
    return registry


def _may_scrape(request: HttpRequest) -> bool:
    configured = getattr(settings, "METRICS_TOKENS", ())
    tokens = [token for token in configured if token]  # an empty one would match an empty one
    if not tokens:
        return bool(settings.DEBUG)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # All are compared, each in constant time: how long it takes tells nothing about any of them.
    matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)
