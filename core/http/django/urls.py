"""``path("", include("core.http.django.urls"))``: /metrics and /healthz, where the middleware does not answer them."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "outbound_http"
urlpatterns = [
    path("metrics", views.metrics, name="metrics"),
    path("healthz", views.healthz, name="healthz"),
]
