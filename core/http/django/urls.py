"""The URLs of the app's pages. Include them with ``path("", include("core.http.django.urls"))``.

A site that has `OperationsMiddleware` needs this only for the staff page. The names of the URLs are
`outbound_http:metrics`, `outbound_http:healthz` and `outbound_http:upstreams`.
"""

from __future__ import annotations

from django.urls import path

from . import views
from .admin import upstreams

app_name = "outbound_http"
urlpatterns = [
    path("metrics", views.metrics, name="metrics"),
    path("healthz", views.healthz, name="healthz"),
    path("upstreams/", upstreams, name="upstreams"),
]
