"""Helpers for several apps. Their HTTP requests go through core.http."""

from __future__ import annotations

import logging
from urllib.parse import quote

from django.conf import settings
from django.db import models
from django.template.defaultfilters import slugify

from core.http.requests import web as requests

logger = logging.getLogger(__name__)
_session = requests.Session()


class PackageStatus(models.IntegerChoices):
    """Development status of a package. The labels are PyPI's classifiers."""

    UNKNOWN = 0, "Unknown"
    PLANNING = 1, "Development Status :: 1 - Planning"
    PRE_ALPHA = 2, "Development Status :: 2 - Pre-Alpha"
    ALPHA = 3, "Development Status :: 3 - Alpha"
    BETA = 4, "Development Status :: 4 - Beta"
    STABLE = 5, "Development Status :: 5 - Production/Stable"
    MATURE = 6, "Development Status :: 6 - Mature"
    INACTIVE = 7, "Development Status :: 7 - Inactive"


def status_choices_switch(status: str) -> int | None:
    """Return the number of a "Development Status" classifier; None for any other text."""
    return next((value for value, label in PackageStatus.choices if label == status), None)


def oc_slugify(value: str) -> str:
    """Return `value` as a slug, like Django's `slugify`, but with "-" in place of each dot."""
    return slugify(value.replace(".", "-"))


def get_pypi_url(title: str, timeout: float = 1.0) -> str | None:
    """Return the URL of the PyPI project page of a package called `title`; None if there is no such page.

    Meant for use during a web request.

    :param timeout: seconds in total, including retries and all spellings of the title that are tried.
    :raises requests.RequestException: if PyPI did not say whether the page exists.
    """
    title = title.strip()
    names = (oc_slugify(title.lower()), oc_slugify(title), title, title.lower(), title.title())
    # "." and ".." would be resolved as path segments, and lead to a page that is not the page of a project.
    candidates = [name for name in dict.fromkeys(names) if name.strip(".")]
    with _session.within(timeout):
        for name in candidates:
            url = f"{settings.PYPI_URL}/project/{quote(name, safe='')}/"
            response = _session.get(url)
            if response.status_code not in {404, 410}:
                response.raise_for_status()
                return url
    return None


def healthcheck(url: str, timeout: float = 1.0) -> bool:
    """Ping a monitoring service. Returns whether the response reports success. Never raises.

    A transient failure is retried once.

    :param timeout: seconds for each of the two attempts.
    """
    try:
        return requests.get(url, timeout=timeout).ok
    except Exception as exc:  # noqa: BLE001 - a job must not fail because its monitoring fails
        logger.warning("Health check ping failed: %s", type(exc).__name__)
        return False
