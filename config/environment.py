"""Addresses from the environment, checked before anything parses them.

They may hold passwords, and the errors of those who parse them quote what they could not read: half of a password that
has a "/" in it passes for a port. So what is wrong is said here, by the name of the variable and never with its value.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from kombu.transport import TRANSPORT_ALIASES

_HINT = "in its user name and password all but letters, digits and -._~ must be percent-encoded, such as @ as %40"


def web_address(name: str, value: str) -> str:
    """Return the address of a server without a slash at its end; `name` is the variable that holds it.

    :raises ImproperlyConfigured: it is none.
    """
    value = value.strip().rstrip("/")
    if not (_is_sound(value, {"http", "https"}) and urlsplit(value).hostname):
        raise ImproperlyConfigured(f"{name}: must be an http or https address such as https://host; {_HINT}")
    return value


def redis_address(name: str, value: str) -> str:
    """Return the address of a Redis server. Raises as `web_address`."""
    if not _is_sound(value, {"redis", "rediss", "unix"}):
        raise ImproperlyConfigured(
            f"{name}: must be the address of a Redis server such as redis://:password@host:6379/0; {_HINT}"
        )
    return value


def broker_address(name: str, value: str) -> str:
    """Return the address of a broker that Celery knows, or several separated by ";". Raises as `web_address`."""
    for each in value.split(";"):
        if not _is_sound(each.strip(), TRANSPORT_ALIASES):
            raise ImproperlyConfigured(
                f"{name}: must be the address of a broker such as redis://:password@host:6379/0; {_HINT}"
            )
    return value


def database(name: str, value: str) -> dj_database_url.DBConfig:
    """Return the entry of DATABASES for the address of a database. Raises as `web_address`."""
    is_file = value.startswith("sqlite:")  # without a password, and with any letter in its path
    if is_file:
        value = value.replace("#", "%23")  # which would end the path
    try:
        if is_file or _is_sound(value, dj_database_url.ENGINE_SCHEMES):
            return dj_database_url.parse(value, conn_max_age=60, conn_health_checks=True)
    except ValueError:
        pass  # its text may hold a part of the password
    raise ImproperlyConfigured(
        f"{name}: must be the address of a database such as postgres://user:password@host/name, "
        f"or sqlite:////path/of/a/file; {_HINT}"
    )


def _is_sound(url: str, schemes: Collection[str]) -> bool:
    """Say whether `url` has one of the `schemes`, and can have been meant as it is read."""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.partition("+")[0]  # Celery's may name a driver behind it
        # An "@" further behind: a "/" or "?" before it ended what is read as the host.
        is_whole = not re.search(r"[#\\]", url) and "@" not in parts.path + parts.query
        has_port = parts.port != 0
    except ValueError:
        return False
    if parts.scheme in {"redis", "rediss"} and not re.fullmatch(r"/?\d*", parts.path):  # a number of a database
        return False
    return scheme in schemes and "://" in url and has_port and is_whole
