"""Refuses versions of other libraries that `core.http` does not work with. What it relies on there is in `compat`."""

from __future__ import annotations

import re
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
}
"""The oldest versions that are supported, as in pyproject.toml. Only users of SOCKS proxies need PySocks."""


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
    for package, installed in INSTALLED.items():
        check_version(package, installed)
    prometheus_client = _prometheus_client()
    if prometheus_client is not None:
        check_version("prometheus-client", prometheus_client)


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
