"""Pages in the admin that belong to no model."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from .. import process
from ..status import status_report
from .status_text import caveat, rows, title


@admin.site.admin_view
@require_safe
def upstreams(request: HttpRequest) -> TemplateResponse:
    """Show staff what `manage.py upstreams` shows operators."""
    found = status_report(process.current())
    own = {"title": "Upstreams", "caveat": caveat(found), "rows": rows(found), "at": title(found)}
    return TemplateResponse(request, "outbound_http/upstreams.html", {**admin.site.each_context(request), **own})
