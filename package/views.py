from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from core.http import WEB_REQUEST
from package.jobs.fallback_metric import count_fallback
from package.jobs.refresh_one import refresh_one
from package.models import Package
from package.sources.fetch_results import GOOD
from package.sources.sessions import Sessions

_sessions = Sessions.made(WEB_REQUEST)
_PATIENCE = 10.0
"""Maximum seconds in total for the parts of a package, because the visitor waits."""


@require_safe
def package_list(request: HttpRequest) -> HttpResponse:
    packages = Package.objects.select_related("latest_version").order_by("title", "pk")
    page = Paginator(packages, 50).get_page(request.GET.get("page"))
    return render(request, "package/list.html", {"page": page})


@require_safe
def package_detail(request: HttpRequest, slug: str) -> HttpResponse:
    package = get_object_or_404(Package.objects.select_related("latest_version", "category"), slug=slug)
    return render(request, "package/detail.html", {"package": package})


@require_POST
@login_required
def fetch_package(request: HttpRequest, slug: str) -> HttpResponse:
    """Refresh a package while the visitor waits, with the short timeouts of `WEB_REQUEST`."""
    package = get_object_or_404(Package, slug=slug)
    with _sessions.within(_PATIENCE):
        results = refresh_one(package, _sessions, again=True)
    for result in results:
        count_fallback(result)
        if result.outcome in GOOD:
            messages.success(request, str(result))
        else:
            messages.warning(request, f"{result}: {result.error}")
    return redirect(package)
