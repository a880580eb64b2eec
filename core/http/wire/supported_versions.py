"""Refuses versions of other libraries that `core.http` does not work with. What it relies on there is in `compat`."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import idna
import requests
import urllib3

FLOORS: dict[str, tuple[int, ...]] = {
    "requests": (2, 34),
    "urllib3": (2, 6, 3),
    "idna": (3, 7),
    "prometheus-client": (0, 22),
    "PySocks": (1, 7),
    "httpx": (0, 28),
    "httpx2": (2, 16),
}
"""The oldest versions that are supported, as in pyproject.toml. Only their users need the last three."""


PATCHERS = frozenset({"eventlet", "gevent"})
"""Packages that put sockets of their own in the place of Python's."""


def _prometheus_client() -> str | None:
    try:
        return version("prometheus-client")  # the module does not know
    except PackageNotFoundError:  # it was copied somewhere, without the notes of pip
        return None


def _version_of(module: Any) -> str:
    told: str = module.__version__
    return told


# What is imported counts, not what pip has noted: urllib3-future has notes of its own.
INSTALLED: dict[str, str] = {
    "requests": _version_of(requests),
    "urllib3": _version_of(urllib3),
    "idna": _version_of(idna),
}


def check_installed() -> None:
    """Raise `ImportError` where a library is older than its floor, or is another one in disguise."""
    if re.match(r"\d+\.\d+\.9\d\d", INSTALLED["urllib3"]):  # how its releases are numbered
        raise ImportError(
            "urllib3-future has taken the place of urllib3 (niquests installs it): core.http needs the real one. "
            "Uninstall urllib3-future and reinstall urllib3."
        )
    check_patches()
    for package, installed in INSTALLED.items():
        check_version(package, installed)
    prometheus_client = _prometheus_client()
    if prometheus_client is not None:
        check_version("prometheus-client", prometheus_client)


def origin_of(kind: type, parts: int = 1) -> str:
    """Return the package that defines a class: of the name of its module the first `parts`."""
    return ".".join(kind.__module__.split(".")[:parts])


def check_patches() -> None:
    """Raise `ImportError` where sockets have been replaced by what ours cannot be built on."""
    found = {origin_of(kind) for kind in (socket.socket, ssl.SSLSocket)} & PATCHERS
    if "eventlet" in found:
        raise ImportError(
            "eventlet has replaced socket and ssl, and on its sockets core.http cannot keep the deadline of attempts. "
            "Use gevent or threads, as eventlet's own authors advise"
        )
    if found and {origin_of(socket.socket), origin_of(ssl.SSLSocket)} != found:
        raise ImportError(
            "gevent has replaced only one of socket and ssl, which core.http needs as a pair: call "
            "gevent.monkey.patch_all() without leaving one of them out"
        )
    if found and not hasattr(socket.socket, "_wait"):
        raise ImportError(
            "core.http relies on insides of gevent that the installed one does not have: socket._wait. "
            "Install an earlier gevent or a newer core.http"
        )


def check_version(package: str, installed: str) -> None:
    """Raise `ImportError` where `package` is older than its floor."""
    floor = FLOORS[package]
    if tuple(int(part) for part in re.findall(r"\d+", installed)[: len(floor)]) < floor:
        raise ImportError(f"{package} {installed} is too old for core.http: install {_supported(package)}")


def check_insides(package: str, installed: str, insides: Mapping[str, bool]) -> None:
    """Raise `ImportError` unless all that is listed was found in `package`."""
    missing = [what for what, found in insides.items() if not found]
    if missing:
        raise ImportError(
            f"core.http relies on insides of {package} that {package} {installed} does not have: {', '.join(missing)}. "
            f"Supported is {_supported(package)}, up to the release that changed them: "
            f"install an earlier {package} or a newer core.http"
        )


def _supported(package: str) -> str:
    floor = FLOORS.get(package, (3, 11))
    return f"{package}>={'.'.join(map(str, floor))}"
