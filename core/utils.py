"""Small things that several apps need; what goes out goes through core.http."""

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
    """Development status; the labels are PyPI's classifiers."""

    UNKNOWN = 0, "Unknown"
    PLANNING = 1, "Development Status :: 1 - Planning"
    PRE_ALPHA = 2, "Development Status :: 2 - Pre-Alpha"
    ALPHA = 3, "Development Status :: 3 - Alpha"
    BETA = 4, "Development Status :: 4 - Beta"
    STABLE = 5, "Development Status :: 5 - Production/Stable"
    MATURE = 6, "Development Status :: 6 - Mature"
    INACTIVE = 7, "Development Status :: 7 - Inactive"


def status_choices_switch(status: str) -> int | None:
    """Return the number of a "Development Status" classifier, None for anything else."""
    return next((value for value, label in PackageStatus.choices if label == status), None)


def oc_slugify(value: str) -> str:
    """Slugify as Django does, but with "-" in place of a dot instead of nothing."""
    return slugify(value.replace(".", "-"))


def get_pypi_url(title: str, timeout: float = 1.0) -> str | None:
    """Find the PyPI project page of a package called `title`; None where there is none.

    :param timeout: seconds for all of it, retries and further candidates included. Made for use inside a web
        request.
    :raises requests.RequestException: it could not be found out.
    """
    title = title.strip()
    names = (oc_slugify(title.lower()), oc_slugify(title), title, title.lower(), title.title())
    # "." and ".." would be resolved away, and lead to other pages than a project's.
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
    """Ping a monitoring service, once more where that may help. Never raises; returns whether it got through.

    :param timeout: seconds for each of the two attempts.
    """
    try:
        return requests.get(url, timeout=timeout).ok
    except Exception as exc:  # noqa: BLE001 - a job must not fail because its monitoring does
        logger.warning("The health check could not be sent: %s", type(exc).__name__)
        return False
