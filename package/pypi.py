"""PyPI: what its JSON API says of a project, stored on the package."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import requests
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from core.http import CircuitOpen, RateLimited, ResilientSession
from package.models import Package, Version
from package.pypi_fields import Reading, read_project
from package.results import FetchOutcome, FetchResult

SOURCE = "pypi"

logger = logging.getLogger(__name__)
_session = ResilientSession()


class PyPIError(Exception):
    """PyPI could not be asked, or did not answer with a project; the text says why."""


class PyPILeftAlone(PyPIError):  # noqa: N818 - what it says is in its name
    """PyPI is down or asked to be left alone, so nothing was sent."""


class PyPIUnreachable(PyPIError):  # noqa: N818 - what it says is in its name
    """PyPI did not answer, or answered that it cannot. core.http has logged the call and its attempts."""


class NotOnPyPI(PyPIError):  # noqa: N818 - an answer, not an error
    """PyPI answered that it has no such project."""


def fetch_project(name: str, session: requests.Session | None = None) -> Mapping[str, Any]:
    """Return PyPI's JSON of a project; its "info" is an object. Raises `PyPIError` and its kin."""
    url = f"{settings.PYPI_URL}/pypi/{name}/json"
    try:
        response = (session or _session).get(url, headers={"Accept": "application/json"})
    except (CircuitOpen, RateLimited) as exc:
        why = "is down" if isinstance(exc, CircuitOpen) else "limits our rate"
        raise PyPILeftAlone(f"PyPI {why}; nothing is sent before {exc.retry_at:%H:%M:%S} UTC") from exc
    except requests.TooManyRedirects as exc:
        raise PyPIError("PyPI redirects in a circle") from exc
    except requests.RequestException as exc:
        # The kind says enough: the text may repeat more of the URL and the server than one wants to store.
        raise PyPIUnreachable(f"PyPI could not be reached: {type(exc).__name__}") from exc
    if response.status_code in {404, 410}:
        raise NotOnPyPI(f"PyPI has no project {name!r} (HTTP {response.status_code})")
    if response.status_code == 429:
        raise PyPIUnreachable("PyPI limits our rate (HTTP 429)")
    if response.status_code >= 500:
        raise PyPIUnreachable(f"PyPI answered HTTP {response.status_code}")
    if response.status_code != 200:
        raise PyPIError(f"PyPI answered HTTP {response.status_code}")
    try:
        data = response.json()
    except (ValueError, RecursionError) as exc:
        raise PyPIError("PyPI's answer is not JSON") from exc
    if not isinstance(data, dict) or not isinstance(data.get("info"), dict):
        raise PyPIError("PyPI's answer is JSON, but does not describe a project")
    return data


def update_package_from_pypi(package: Package, session: requests.Session | None = None) -> FetchResult:
    """Refresh `package` from PyPI and save it. What cannot be used is skipped; nothing stored is blanked."""
    if not package.pypi_url.strip():
        return FetchResult(SOURCE, FetchOutcome.SKIPPED, error="has no PyPI name")
    name = package.pypi_name
    if not name:
        return _failed(package, PyPIError(f"the PyPI URL {package.pypi_url!r} names no project on PyPI"))
    try:
        data = fetch_project(name, session)
    except NotOnPyPI as exc:
        return _not_found(package, str(exc))
    except PyPILeftAlone as exc:
        return FetchResult(SOURCE, FetchOutcome.LEFT_ALONE, error=str(exc))
    except PyPIError as exc:
        return _failed(package, exc)
    return _store(package, read_project(data))


def _store(package: Package, reading: Reading) -> FetchResult:
    for skipped in reading.skipped:
        logger.warning("%s: PyPI's %s skipped: %s", package.slug, skipped.field, skipped.reason)
    fields = [*reading.package, "pypi_missing_since"]
    for name, value in reading.package.items():
        setattr(package, name, value)
    package.pypi_missing_since = None
    with transaction.atomic():
        if reading.number is not None:
            package.latest_version, _ = Version.objects.update_or_create(
                package=package, number=reading.number, defaults=reading.version
            )
            fields.append("latest_version")
        package.record_success(fields)
    updated = (*reading.package, *(f"version.{name}" for name in reading.version))
    outcome = FetchOutcome.PARTLY if reading.skipped else FetchOutcome.UPDATED
    return FetchResult(SOURCE, outcome, updated, tuple(reading.skipped))


def _not_found(package: Package, error: str) -> FetchResult:
    if package.pypi_missing_since is None:
        logger.warning("%s: %s", package.slug, error)
        package.pypi_missing_since = timezone.now()
    package.record_success(["pypi_missing_since"])
    return FetchResult(SOURCE, FetchOutcome.NOT_FOUND, error=error)


def _failed(package: Package, error: PyPIError) -> FetchResult:
    if not isinstance(error, PyPIUnreachable):
        logger.warning("%s: not updated: %s", package.slug, error)
    package.record_failure(str(error))
    reached = not isinstance(error, PyPIUnreachable)
    return FetchResult(SOURCE, FetchOutcome.FAILED, error=str(error), reached=reached)
