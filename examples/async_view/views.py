"""The view, and the URLs."""

from __future__ import annotations

import httpx
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import re_path
from outbound_http.httpx import AsyncResilientClient, CircuitOpen, RateLimited

client = AsyncResilientClient(follow_redirects=True)  # one client for the process, so that connections are reused


async def stars(request: HttpRequest, owner: str, name: str) -> JsonResponse:  # noqa: ARG001 - a view
    """Return the number of stars that a repository has on GitHub."""
    try:
        response = await client.get(f"{settings.GITHUB_API_URL}/repos/{owner}/{name}")
        response.raise_for_status()
        count = response.json()["stargazers_count"]
    except (CircuitOpen, RateLimited) as error:  # nothing was sent; Retry-After tells the caller when to try again
        retry_after = {"Retry-After": error.response.headers["Retry-After"]}
        return JsonResponse({"error": "GitHub is down"}, status=503, headers=retry_after)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 404:
            return JsonResponse({"error": "There is no such repository"}, status=404)
        return JsonResponse({"error": f"GitHub answered {error.response.status_code}"}, status=502)
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return JsonResponse({"error": "GitHub sent no usable response"}, status=502)
    return JsonResponse({"repository": f"{owner}/{name}", "stars": count})


urlpatterns = [re_path(r"^stars/(?P<owner>[\w-]+)/(?P<name>[\w.-]*[\w-][\w.-]*)$", stars)]
