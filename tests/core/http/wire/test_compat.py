"""What the library relies on in other libraries is there, or the import says what is missing."""

from __future__ import annotations

import http.client
import importlib
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.adapters
import socks
import urllib3
import urllib3.connectionpool
import urllib3.response

from core.http.wire import compat

ROOT = Path(__file__).parents[4]


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], object]]:
    """Import it again, and once more as it is at the end."""
    yield lambda: importlib.reload(compat)
    monkeypatch.undo()
    importlib.reload(compat)


def floors() -> dict[str, tuple[int, ...]]:
    """Read the lower bounds of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    bounds = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", bound) for group in groups for bound in group]
    return {found[1]: tuple(map(int, found[2].split("."))) for found in bounds if found}


def test_the_floors_are_those_of_pyproject() -> None:
    """What the import refuses and what pip refuses are the same versions."""
    known = floors()
    assert {name: known[name] for name in compat.FLOORS} == compat.FLOORS
    assert known["PySocks"] == compat.PYSOCKS_FLOOR


@pytest.mark.parametrize("package", sorted(compat.FLOORS))
def test_an_old_version_is_refused(package: str, monkeypatch: pytest.MonkeyPatch, again: Callable[[], object]) -> None:
    """With an old requests `verify=` was lost without a word: better no import."""
    real = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1" if name == package else real(name))
    if package == "urllib3":
        monkeypatch.setattr(urllib3, "__version__", "0.1")
    with pytest.raises(ImportError, match=rf"{package} 0\.1 is too old for core\.http: install {package}>=\d"):
        again()


def test_urllib3_future_is_refused(monkeypatch: pytest.MonkeyPatch, again: Callable[[], object]) -> None:
    """The import says what is in the way and what to do."""
    monkeypatch.setattr(urllib3, "__version__", "2.13.905")
    with pytest.raises(ImportError, match="Uninstall urllib3-future and reinstall urllib3"):
        again()


class _Renamed:
    """A decoder whose insides have other names."""


@pytest.mark.parametrize(
    ("owner", "name", "replacement", "named"),
    [
        (urllib3.response, "GzipDecoder", _Renamed, "GzipDecoder._state of urllib3"),
        (urllib3.response, "DeflateDecoder", _Renamed, "DeflateDecoder._obj of urllib3"),
        (urllib3.connectionpool.HTTPConnectionPool, "_get_conn", lambda self: None, "_get_conn of urllib3"),
        (http.client.HTTPResponse, "_safe_read", None, "_safe_read of Python"),
        (http.client.HTTPResponse, "_close_conn", None, "_close_conn of Python"),
        (requests.adapters.HTTPAdapter, "__attrs__", [], "_pool_block of requests"),
    ],
)
def test_a_renamed_part_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    again: Callable[[], object],
    owner: Any,
    name: str,
    replacement: object,
    named: str,
) -> None:
    """A rename in a later release ends the import: it does not make a body that was cut short a whole one."""
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(ImportError, match=named):
        again()


@pytest.mark.parametrize("name", ["_proxy_negotiators", "_write_SOCKS5_address"])
def test_a_renamed_part_of_pysocks_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """PySocks is looked at when a SOCKS proxy is first used."""
    monkeypatch.delattr(socks.socksocket, name)
    with pytest.raises(ImportError, match=f"{name} of PySocks"):
        compat.check_pysocks(socks)


def test_an_old_pysocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the others."""
    monkeypatch.setattr(socks, "__version__", "1.6.8")
    with pytest.raises(ImportError, match=r"PySocks 1\.6\.8 is too old"):
        compat.check_pysocks(socks)
