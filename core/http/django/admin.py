"""The admin page that shows the state of the upstreams. It does not belong to a model."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, resolve, reverse
from django.views.decorators.http import require_safe

from .. import process
from ..status import status_report
from .status_text import caveat, rows, title


@login_not_required  # `admin_view` requires a login, and redirects to the admin's own login page
def upstreams(request: HttpRequest) -> HttpResponseBase:
    """Show staff the same state as `manage.py upstreams`. Raises `Http404` on a site without the admin."""
    try:
        index = resolve(reverse("admin:index"))  # not on import, because the admin may be set up later
    except NoReverseMatch:
        raise Http404("This site has no admin") from None
    site = getattr(index.func, "admin_site", admin.site)  # the site's own AdminSite decides about permissions
    return site.admin_view(_page)(request, site)


@require_safe
def _page(request: HttpRequest, site: AdminSite) -> TemplateResponse:
    found = status_report(process.current())
    own = {"title": "Upstreams", "caveat": caveat(found), "rows": rows(found), "at": title(found)}
    request.current_app = site.name
    return TemplateResponse(request, "outbound_http/upstreams.html", {**site.each_context(request), **own})
