"""Pages in the admin that belong to no model."""

from __future__ import annotations

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from .. import process
from ..status import status_report
from .status_text import caveat, rows, title


def upstreams(request: HttpRequest) -> HttpResponseBase:
    """Show staff what `manage.py upstreams` shows operators. Raises `Http404` on a site without the admin."""
    try:
        reverse("admin:index")
    except NoReverseMatch:
        raise Http404("This site has no admin") from None
    return admin.site.admin_view(_page)(request)  # here: on import there may be no admin yet, or none at all


@require_safe
def _page(request: HttpRequest) -> TemplateResponse:
    found = status_report(process.current())
    own = {"title": "Upstreams", "caveat": caveat(found), "rows": rows(found), "at": title(found)}
    return TemplateResponse(request, "outbound_http/upstreams.html", {**admin.site.each_context(request), **own})
