from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from core.http import WEB_REQUEST, ResilientSession
from package.models import Package
from package.results import FetchOutcome

_session = ResilientSession(WEB_REQUEST)


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
    """Refresh a package while its visitor waits: with the policy that is short enough for that."""
    package = get_object_or_404(Package, slug=slug)
    for result in package.fetch_metadata(_session):
        if result.outcome in {FetchOutcome.UPDATED, FetchOutcome.PARTLY}:
            messages.success(request, f"{result.source}: {result.outcome}")
        else:
            messages.warning(request, f"{result.source}: {result.outcome}: {result.error}")
    return redirect(package)
