"""The import checks the parts of other libraries that the library needs, and names a missing one."""

from __future__ import annotations

import ast
import http.client
import importlib
import importlib.metadata
import inspect
import io
import pkgutil
import re
import ssl
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import idna
import pytest
import requests
import requests.adapters
import socks
import urllib3
import urllib3.connectionpool
import urllib3.response
from urllib3.contrib.socks import SOCKSConnection

import core.http
from core.http.wire import compat, supported_versions

ROOT = Path(__file__).parents[4]
LIBRARY = Path(core.http.__file__).parent


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Import the module again, and once more after the test."""

    def load() -> None:
        importlib.reload(supported_versions)
        importlib.reload(compat)

    yield load
    monkeypatch.undo()
    load()


def floors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Read the lower bounds of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tables = (project["project"]["optional-dependencies"], project["dependency-groups"])
    for group in (project["project"]["dependencies"], *(group for table in tables for group in table.values())):
        for bound in group:
            if found := re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", bound):
                yield found[1], tuple(map(int, found[2].split(".")))


def test_the_floors_are_those_of_pyproject() -> None:
    """The lowest versions that the import accepts are those in every group of pyproject.toml."""
    known = supported_versions.FLOORS
    assert {(name, floor) for name, floor in floors() if name in known} == set(known.items())


@pytest.mark.parametrize("package", sorted(set(supported_versions.FLOORS) - {"PySocks", "httpx", "httpx2"}))
def test_an_old_version_is_refused(package: str, monkeypatch: pytest.MonkeyPatch, again: Callable[[], None]) -> None:
    """Versions below the lowest are refused; with an old requests, `verify=` was ignored."""
    module = {"requests": requests, "urllib3": urllib3, "idna": idna}.get(package)
    if module is None:
        monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.1")
    else:
        monkeypatch.setattr(module, "__version__", "0.1")
    with pytest.raises(ImportError, match=rf"{package} 0\.1 is too old for core\.http: install {package}>=\d"):
        again()


def test_a_version_is_compared_as_numbers() -> None:
    """2.10 is newer than 2.6, and a release candidate counts as its release."""
    supported_versions.check_version("urllib3", "2.10")
    supported_versions.check_version("requests", "2.34.0rc1")
    with pytest.raises(ImportError, match=r"urllib3 2\.6\.2 is too old"):
        supported_versions.check_version("urllib3", "2.6.2")


def test_a_copy_without_metadata_is_not_refused(monkeypatch: pytest.MonkeyPatch, again: Callable[[], None]) -> None:
    """A copy of prometheus-client without metadata has no known version, and is accepted."""

    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    again()


def test_urllib3_future_is_refused(monkeypatch: pytest.MonkeyPatch, again: Callable[[], None]) -> None:
    """If urllib3-future is installed, the import fails and says what to do."""
    monkeypatch.setattr(urllib3, "__version__", "2.13.905")
    with pytest.raises(ImportError, match="Uninstall urllib3-future and reinstall urllib3"):
        again()


class _Renamed(urllib3.response.ContentDecoder):
    """A decoder whose attributes have other names."""


def _without(kind: type, *names: str) -> type:
    """Return `kind` as it would be if a release had renamed these attributes of its instances."""

    class Without(kind):  # type: ignore[misc]  # it is any
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            for name in names:
                delattr(self, name)

    return Without


@pytest.mark.parametrize(
    ("owner", "name", "replacement", "missing"),
    [
        (requests, "Response", _without(requests.Response, "_content"), "requests .* Response._content"),
        (requests, "Response", _without(requests.Response, "_content_consumed"), "Response._content_consumed"),
        (requests, "PreparedRequest", _without(requests.PreparedRequest, "_body_position"), "_body_position"),
        (requests, "PreparedRequest", _without(requests.PreparedRequest, "_cookies"), "PreparedRequest._cookies"),
        (requests.adapters.HTTPAdapter, "__attrs__", [], "_pool_connections, .*_pool_maxsize, .*_pool_block"),
        (urllib3.response, "GzipDecoder", _Renamed, "urllib3 .* GzipDecoder with a known end"),
        (urllib3.response, "DeflateDecoder", _Renamed, "DeflateDecoder with a known end"),
        (urllib3.response, "MultiDecoder", _without(urllib3.response.MultiDecoder, "_decoders"), "_decoders"),
        (urllib3.response, "HTTPResponse", _without(urllib3.response.HTTPResponse, "_decoder"), "HTTPResponse._decod"),
        (compat.HTTPConnection, "_new_conn", None, "HTTPConnection._new_conn"),
        (urllib3.connectionpool.HTTPConnectionPool, "_get_conn", lambda self: None, "HTTPConnectionPool._get_conn"),
        (http.client.HTTPResponse, "_safe_read", lambda self, amt, more: None, r"Python [\d.]+ .*_safe_read"),
        (http.client.HTTPResponse, "_read_status", None, "HTTPResponse._read_status"),
        (http.client.HTTPResponse, "_close_conn", None, "HTTPResponse._close_conn"),
        (ssl.SSLSocket, "read", lambda self: None, "SSLSocket._sslobj"),
    ],
)
def test_a_renamed_part_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    again: Callable[[], None],
    owner: Any,
    name: str,
    replacement: object,
    missing: str,
) -> None:
    """A rename, or another parameter, in a later release ends the import, which names package, version and support."""
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(ImportError, match=missing) as refused:
        again()
    assert re.search(r"It supports (requests|urllib3|Python)>=\d", str(refused.value))


def test_a_decoder_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, again: Callable[[], None]) -> None:
    """An unknown decoder in a new urllib3 ends the import, because its truncated bodies would not be detected."""
    monkeypatch.setattr(urllib3.response, "LzmaDecoder", _Renamed, raising=False)
    with pytest.raises(ImportError, match="LzmaDecoder with a known end"):
        again()


class _Stream:
    """The object that urllib3's decoders for zstd and brotli keep in `_obj`."""

    def __init__(self) -> None:
        self.eof = False

    def is_finished(self) -> bool:
        return self.eof


class _Optional(urllib3.response.ContentDecoder):
    """One of the decoders that need another package."""

    def __init__(self) -> None:
        self._obj = _Stream()

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        self._obj.eof |= data.endswith(b".")
        return data

    @property
    def has_unconsumed_tail(self) -> bool:
        return False

    def flush(self) -> bytes:
        return b""


def read(body: bytes, decoder: urllib3.response.ContentDecoder) -> urllib3.response.HTTPResponse:
    raw = urllib3.response.HTTPResponse(io.BytesIO(body), preload_content=False)
    raw._decoder = decoder
    raw.read()
    return raw


@pytest.mark.parametrize("name", ["ZstdDecoder", "BrotliDecoder"])
def test_truncated_bodies_of_optional_decoders_are_errors(
    name: str, monkeypatch: pytest.MonkeyPatch, again: Callable[[], None]
) -> None:
    """A truncated body in brotli, or in zstd inside gzip, is an error."""
    monkeypatch.setattr(urllib3.response, name, _Optional, raising=False)
    again()
    assert compat.is_cut_short(read(b"cut", _Optional()))
    assert not compat.is_cut_short(read(b"whole.", _Optional()))
    several = urllib3.response.MultiDecoder("gzip, deflate")
    several._decoders = [urllib3.response.DeflateDecoder(), _Optional()]
    assert compat.is_cut_short(read(zlib.compress(b"packed") + b"cut", several))


def test_an_unknown_decoder_is_an_error() -> None:
    """A body with an unknown decoder is an error, because it is not known whether it is complete."""
    foreign = type("OwnDecoder", (_Optional,), {})()
    with pytest.raises(requests.exceptions.ContentDecodingError, match="OwnDecoder"):
        compat.is_cut_short(read(b"whole.", foreign))


@pytest.mark.parametrize("name", ["_proxy_negotiators", "_write_SOCKS5_address"])
def test_a_renamed_part_of_pysocks_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """PySocks is checked when a SOCKS proxy is first used."""
    monkeypatch.delattr(socks.socksocket, name)
    with pytest.raises(ImportError, match=rf"PySocks [\d.]+ does not have: socksocket\.{name}\. It supports PySocks>="):
        compat.check_pysocks(socks, SOCKSConnection)


def test_other_options_of_a_socks_connection_are_refused() -> None:
    """Other private names of urllib3's SOCKS connection are refused, because the proxy's address is there."""
    with pytest.raises(ImportError, match=r"SOCKSConnection\._socks_options"):
        compat.check_pysocks(socks, lambda options: None)


def test_an_old_pysocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old PySocks is refused."""
    monkeypatch.setattr(socks, "__version__", "1.6.8")
    with pytest.raises(ImportError, match=r"PySocks 1\.6\.8 is too old"):
        compat.check_pysocks(socks, SOCKSConnection)


def test_only_compat_touches_private_names() -> None:
    """No other module disables the linter's rule on private names, or replaces a class of another library."""
    # The class of the logger is `logging`'s own business: it asks for subclasses, but not for a logger that exists.
    modules = [LIBRARY / package / "compat.py" for package in ("wire", "observers", "httpx_driver")]
    excepted = {*modules, LIBRARY / "log.py"}
    others = [path for path in LIBRARY.rglob("*.py") if path not in excepted]
    assert len(others) > 50
    assert [path.name for path in others if re.search(r"SLF001|__class__ =[^=]", path.read_text("utf-8"))] == []


def test_every_private_name_that_compat_touches_is_asserted() -> None:
    """Each private name that compat uses is in one of its checks."""
    tree = ast.parse(Path(compat.__file__).read_text("utf-8"))
    texts = " ".join(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    touched = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    by_behavior = {"_obj", "_state", "__attrs__", "__code__", "__name__", "__new__", "__version__", "__class__"}
    assert {name for name in touched - by_behavior if name not in texts} == set()


def test_every_private_method_that_is_overridden_is_asserted() -> None:
    """Each overridden private method is checked, because an override that is no longer called has no effect."""
    overridden = set()
    for module in pkgutil.walk_packages([str(LIBRARY / "wire")], "core.http.wire."):
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(kind) and kind.__module__ == module.name:
                ours = [base for base in kind.__mro__ if base.__module__.startswith("core.http")]
                theirs = {name for base in kind.__mro__ if base not in ours for name in vars(base)}
                methods = {name for base in ours for name, value in vars(base).items() if inspect.isfunction(value)}
                overridden |= {name for name in methods & theirs if re.fullmatch("_[^_].*[^_]", name)}
    asserted = Path(compat.__file__).read_text("utf-8")
    assert overridden == {
        "_decode",
        "_flush_decoder",
        "_get_conn",
        "_new_conn",
        "_put_conn",
        "_read_status",
        "_safe_read",
        "_write_SOCKS5_address",
    }
    assert {name for name in overridden if not re.search(rf'_takes\(\w+, "{name}"', asserted)} == set()


def test_it_can_be_imported_while_vcrpy_replays(tmp_path: Path) -> None:
    """While vcrpy replaces urllib3's connections, the import checks urllib3's own ones."""
    program = f"""
import vcr
with vcr.use_cassette({str(tmp_path / "none.yaml")!r}):
    import core.http.wire.socks_proxy
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
