"""The parts of httpx and httpx2 that the driver needs are checked when a library is bound."""

from __future__ import annotations

from types import ModuleType

import pytest

from core.http.httpx_driver import compat


def test_an_old_version_is_refused(library: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an old version, on which deadlines would not work, the import fails."""
    monkeypatch.setattr(library, "__version__", "0.27.2")
    with pytest.raises(ImportError, match=rf"{name} 0\.27\.2 is too old for core\.http"):
        compat.check(library)


def test_a_release_that_renames_insides_is_refused(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that renames the methods which make transports ends the import."""
    monkeypatch.delattr(library.AsyncClient, "_init_proxy_transport")
    with pytest.raises(ImportError, match=r"AsyncClient\._init_proxy_transport"):
        compat.check(library)


def test_each_driver_binds_its_own_library(driver: ModuleType, library: ModuleType) -> None:
    """If both libraries are installed, each driver uses its own."""
    assert issubclass(driver.AsyncResilientClient, library.AsyncClient)
    assert issubclass(driver.ResilientClient, library.Client)
    assert issubclass(driver.CircuitOpen, library.HTTPStatusError)
