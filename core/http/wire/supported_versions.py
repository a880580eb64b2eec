"""Rejects unsupported versions of other libraries. `compat` checks the private names that `core.http` uses."""

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
"""The oldest supported versions, as in pyproject.toml. PySocks, httpx and httpx2 are optional dependencies."""


PATCHERS = frozenset({"eventlet", "gevent"})
"""Packages that replace Python's sockets with their own."""


def _prometheus_client() -> str | None:
    try:
        return version("prometheus-client")  # the module has no version attribute
    except PackageNotFoundError:  # it was copied without pip's metadata
        return None


def _version_of(module: Any) -> str:
    told: str = module.__version__
    return told


# The versions of the imported modules, not those in pip's metadata, because urllib3-future has its own metadata.
INSTALLED: dict[str, str] = {
    "requests": _version_of(requests),
    "urllib3": _version_of(urllib3),
    "idna": _version_of(idna),
}


def check_installed() -> None:
    """Raise `ImportError` if a library is too old, has been replaced, or has been patched in an unsupported way."""
    if re.match(r"\d+\.\d+\.9\d\d", INSTALLED["urllib3"]):  # the version numbers of urllib3-future
        raise ImportError(
            "urllib3-future has replaced urllib3 (niquests installs it), but core.http needs the original urllib3. "
            "Uninstall urllib3-future and reinstall urllib3."
        )
    check_patches()
    for package, installed in INSTALLED.items():
        check_version(package, installed)
    prometheus_client = _prometheus_client()
    if prometheus_client is not None:
        check_version("prometheus-client", prometheus_client)


def origin_of(kind: type, parts: int = 1) -> str:
    """Return the package that defines a class: the first `parts` of its module's dotted name."""
    return ".".join(kind.__module__.split(".")[:parts])


def check_patches() -> None:
    """Raise `ImportError` if another package has replaced the sockets in a way that core.http does not support."""
    found = {origin_of(kind) for kind in (socket.socket, ssl.SSLSocket)} & PATCHERS
    if "eventlet" in found:
        raise ImportError(
            "eventlet has replaced socket and ssl, and core.http cannot enforce the attempt timeout on its sockets. "
            "Use gevent or threads, as eventlet's own authors advise"
        )
    if found and {origin_of(socket.socket), origin_of(ssl.SSLSocket)} != found:
        raise ImportError(
            "gevent has replaced only one of socket and ssl, but core.http needs both replaced: call "
            "gevent.monkey.patch_all() without excluding one of them"
        )
    if found and not hasattr(socket.socket, "_wait"):
        raise ImportError(
            "core.http uses a private name that the installed gevent does not have: socket._wait. "
            "Install an earlier gevent or a newer core.http"
        )


def check_version(package: str, installed: str) -> None:
    """Raise `ImportError` if `installed` is older than the oldest supported version of `package`."""
    floor = FLOORS[package]
    if tuple(int(part) for part in re.findall(r"\d+", installed)[: len(floor)]) < floor:
        raise ImportError(f"{package} {installed} is too old for core.http: install {_supported(package)}")


def check_insides(package: str, installed: str, insides: Mapping[str, bool]) -> None:
    """Raise `ImportError` unless all listed private names were found in `package`."""
    missing = [what for what, found in insides.items() if not found]
    if missing:
        raise ImportError(
            f"core.http uses private names that {package} {installed} does not have: {', '.join(missing)}. "
            f"It supports {_supported(package)} up to the release that changed these names: "
            f"install an earlier {package} or a newer core.http"
        )


def _supported(package: str) -> str:
    floor = FLOORS.get(package, (3, 11))
    return f"{package}>={'.'.join(map(str, floor))}"
