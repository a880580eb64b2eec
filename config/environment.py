"""Checks the addresses in environment variables before other libraries parse them.

The addresses may contain passwords, and the errors of other parsers quote the text that they could not parse. For
example, the part of a password before a "/" is parsed as a port, and quoted. The errors raised here name the variable
and never quote its value.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from kombu.transport import TRANSPORT_ALIASES

_HINT = "in the user name and password, all but letters, digits and -._~ must be percent-encoded (@ becomes %40)"


def web_address(name: str, value: str) -> str:
    """Return `value`, the address of a web server, without a trailing slash.

    :param name: the environment variable with the value, for the error.
    :raises ImproperlyConfigured: if `value` is not an http or https address.
    """
    value = value.strip().rstrip("/")
    if not (_is_sound(value, {"http", "https"}) and urlsplit(value).hostname):
        raise ImproperlyConfigured(f"{name}: must be an http or https address such as https://host; {_HINT}")
    return value


def redis_address(name: str, value: str) -> str:
    """Return `value`, the address of a Redis server. Raises `ImproperlyConfigured` if it is something else."""
    if not _is_sound(value, {"redis", "rediss", "unix"}):
        raise ImproperlyConfigured(
            f"{name}: must be the address of a Redis server such as redis://:password@host:6379/0; {_HINT}"
        )
    return value


def broker_address(name: str, value: str) -> str:
    """Return `value`, the address of a broker, or several addresses separated by ";".

    :raises ImproperlyConfigured: if `value` is something else. The schemes are those of kombu, Celery's library for
        brokers.
    """
    for each in value.split(";"):
        if not _is_sound(each.strip(), TRANSPORT_ALIASES):
            raise ImproperlyConfigured(
                f"{name}: must be the address of a broker such as redis://:password@host:6379/0; {_HINT}"
            )
    return value


def database(name: str, value: str) -> dj_database_url.DBConfig:
    """Return the entry of DATABASES for the database at the address `value`.

    :raises ImproperlyConfigured: if `value` is not the address of a database.
    """
    is_file = value.startswith("sqlite:")  # such an address has no password, and its path may contain any character
    if is_file:
        value = value.replace("#", "%23")  # an unescaped "#" would end the path
    try:
        if is_file or _is_sound(value, dj_database_url.ENGINE_SCHEMES):
            return dj_database_url.parse(value, conn_max_age=60, conn_health_checks=True)
    except ValueError:
        pass  # the text of the error may contain a part of the password
    raise ImproperlyConfigured(
        f"{name}: must be the address of a database such as postgres://user:password@host/name, "
        f"or sqlite:////path/of/a/file; {_HINT}"
    )


def _is_sound(url: str, schemes: Collection[str]) -> bool:
    """Return whether `url` has one of the `schemes`, and there is no sign that a part of a password was misparsed."""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.partition("+")[0]  # Celery's scheme may include a driver: "sqla+postgresql"
        # An "@" after the host means that a "/" or "?" in the password ended the part that is parsed as the host.
        is_whole = not re.search(r"[#\\]", url) and "@" not in parts.path + parts.query
        has_port = parts.port != 0
    except ValueError:
        return False
    if parts.scheme in {"redis", "rediss"} and not re.fullmatch(r"/?\d*", parts.path):  # the database number
        return False
    return scheme in schemes and "://" in url and has_port and is_whole
