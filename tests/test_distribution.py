"""The distribution `outbound-http`: building it from this repository with pip, and installing it elsewhere."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from email.message import Message
from importlib.util import find_spec
from pathlib import Path

import pytest

import core.http
from tests.core.http.adopter import DJANGO_SITE, SCRIPT
from tests.core.http.misbehave import MisbehavingServer, reply
from tests.servers.common import cannot

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "core" / "http"
NEEDED = {"outbound-http", "certifi", "charset-normalizer", "idna", "prometheus-client", "requests", "urllib3"}

FOR_OLD_PYTHONS = {"typing-extensions", "typing_extensions"}
"""What anyio and httpx2 need before Python 3.13."""
ASYNC_SCRIPT = """
    import asyncio, os
    from outbound_http import Policy
    from outbound_http.{} import AsyncResilientClient

    async def main():
        async with AsyncResilientClient(Policy(backoff=0.01)) as client:
            response = await client.get(os.environ["URL"])
            assert (response.content, len(response.attempts)) == (b"fine", 2)

    asyncio.run(main())
    """


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONPATH": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build_wheel(source: str, to: Path) -> Path:
    """Build as a user does, with the build backend that the lock names."""
    if not (find_spec("hatchling") and find_spec("pip")):
        cannot("hatchling or pip is not installed: make .venv/.dev installs them")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", to, source)
    (wheel,) = to.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(".", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return email.message_from_bytes(archive.read(name))


def files_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_folder_and_nothing_else(wheel: Path) -> None:
    """Every file of core/http/, templates and py.typed included, is in the package outbound_http."""
    folder = {path.relative_to(LIBRARY) for path in LIBRARY.rglob("*") if path.is_file()}
    expected = {f"outbound_http/{path.as_posix()}" for path in folder if "__pycache__" not in path.parts}
    found = files_in(wheel)
    assert {name for name in found if ".dist-info/" not in name} == expected
    assert {"outbound_http/py.typed", "outbound_http/django/templates/outbound_http/upstreams.html"} <= found
    assert any(name.endswith("/licenses/LICENSE") for name in found)


def test_the_wheel_needs_little(metadata: Message) -> None:
    """The wheel requires four packages, and none that only the site of this repository needs."""
    needs = metadata.get_all("Requires-Dist", [])
    assert {need.split(">")[0] for need in needs if "extra ==" not in need} == {
        "idna",
        "prometheus-client",
        "requests",
        "urllib3",
    }
    assert metadata.get_all("Provides-Extra") == ["django", "httpx", "httpx2", "socks"]


def test_the_wheel_has_its_metadata(metadata: Message) -> None:
    """The metadata has name, version, description, license and URLs."""
    assert (metadata["Name"], metadata["Version"]) == ("outbound-http", core.http.__version__)
    assert metadata["License-Expression"] == "MIT"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert {url.split(",")[0] for url in metadata.get_all("Project-URL", [])} >= {"Homepage", "Source"}
    assert "The distribution is not on PyPI." in str(metadata.get_payload())


@pytest.mark.parametrize("page", ["README.md", "docs/adopt.md", "docs/httpx.md", "core/http/README.md"])
def test_the_pages_name_the_wheel(page: str, wheel: Path) -> None:
    """The commands that these pages show install the wheel that is built, and nothing from an index of that name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    extra = "httpx" if page == "docs/httpx.md" else "django"
    assert f'pip install "dist/{wheel.name}[{extra}]"' in text
    assert "pip install outbound-http" not in text


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """A wheel that is built from the sdist has the same files."""
    options = ("--sdist", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(tmp_path))
    run(sys.executable, "-m", "uv", "build", *options)
    (sdist,) = tmp_path.glob("*.tar.gz")
    assert files_in(build_wheel(str(sdist), tmp_path / "from_sdist")) == files_in(wheel)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer([reply(503), reply(200, b"fine")]) as server:
        yield server


@pytest.mark.parametrize(
    ("extras", "more", "program"),
    [
        ("", set(), SCRIPT),
        ("[django]", {"django"}, DJANGO_SITE),
        (
            "[socks]",
            {"pysocks"},
            f"{SCRIPT}\n    session.get_adapter('http://').proxy_manager_for('socks5://127.0.0.1')",
        ),
        ("[httpx]", {"anyio", "h11", "httpcore", "httpx"}, ASYNC_SCRIPT.format("httpx")),
        ("[httpx2]", {"anyio", "h11", "httpcore2", "httpx2", "truststore"}, ASYNC_SCRIPT.format("httpx2")),
    ],
    ids=["alone", "django", "socks", "httpx", "httpx2"],
)
def test_it_works_in_an_empty_environment(
    wheel: Path, extras: str, more: set[str], program: str, server: MisbehavingServer, tmp_path: Path
) -> None:
    """In an empty environment, each extra of the wheel installs all its needs: a call, a check and a scrape work."""
    environment = tmp_path / "environment"
    python = environment / "bin" / "python"
    uv = (sys.executable, "-m", "uv", "--quiet")
    run(*uv, "venv", "--python", sys.executable, environment)
    lock = ("--constraint", ROOT / "requirements" / "dev.txt")
    run(*uv, "pip", "install", "--python", python, *lock, f"outbound-http{extras} @ {wheel.as_uri()}")
    installed = run(*uv, "pip", "freeze", "--python", python)
    names = {line.split("==")[0].split(" @")[0].lower() for line in installed.splitlines()} - FOR_OLD_PYTHONS
    assert names >= NEEDED | more
    if "django" not in extras:
        assert names == NEEDED | more
    run(
        *(python, "-W", "error", "-c", textwrap.dedent(program)),
        cwd=tmp_path,
        LIBRARY="outbound_http",
        URL=server.url,
        NETLOC=server.netloc,
    )
