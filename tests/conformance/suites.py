"""The suites: where they come from, and how each is run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from pytest_httpbin import certs

from tests.conformance.known import NEEDS_INTERNET

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".conformance"
LOCK = ROOT / "requirements" / "dev.txt"


@dataclass(frozen=True)
class Suite:
    """The tests of one package."""

    name: str
    config: str
    """The file with the suite's own configuration of pytest."""
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """What the tests read and the source distribution lacks: path and content."""
    replacement: str = "resilient_session"
    """The plugin that puts the resilient client in the place of the plain one."""
    port: int | None = None
    """Where the suite's own server listens, if it is always the same: then one run at a time."""

    def pinned(self) -> str:
        """Read the requirement, with its hashes, that the lock has for this package."""
        entry = re.search(rf"^{self.name}==(?:.*\\\n)*.*$", LOCK.read_text(), re.MULTILINE)
        if entry is None:
            raise LookupError(f"{LOCK.name} has no {self.name}")
        return entry[0] + "\n"

    def fetch(self) -> Path:
        """Download and unpack the source distribution, unless that was done before. Returns its directory.

        Raises `RuntimeError` where it cannot be had, or the lock names another version than is installed.
        """
        requirement = self.pinned()
        pinned = requirement.split()[0].partition("==")[2]
        if version(self.name) != pinned:
            raise RuntimeError(f"{self.name} {version(self.name)} is installed, but {LOCK.name} says {pinned}")
        unpacked = CACHE / f"{self.name}-{pinned}"
        if not unpacked.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                self._download(requirement, Path(name))
        for path, content in self.files.items():
            (unpacked / path).write_text(content)
        return unpacked

    def _download(self, requirement: str, to: Path) -> None:
        listed = to / "requirement.txt"
        listed.write_text(requirement)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--require-hashes", "--no-build-isolation", "--no-binary", self.name, "--dest", str(to)]
        if subprocess.run([*pip, "-r", str(listed)], check=False).returncode:
            raise RuntimeError(f"pip could not download the source distribution of {self.name}")
        archive = next(to.glob("*.tar.gz"))
        shutil.unpack_archive(archive, to, filter="data")
        unpacked = to / archive.name.removesuffix(".tar.gz")
        unpacked.rename(CACHE / unpacked.name)

    def command(self, *plugins: str) -> list[str]:
        """Return the command that runs this suite, in its directory, with these plugins."""
        left_out = [f"--deselect={test}" for test in NEEDS_INTERNET[self.name]]
        options = ["-q", "--color=no", "-c", self.config, "--rootdir=.", "-p", "no:cacheprovider"]
        options += [f"-p{plugin}" for plugin in plugins]
        return [sys.executable, "-m", "pytest", *options, *left_out, *self.arguments]


SUITES = (
    Suite(
        "httpx",
        "pyproject.toml",
        (
            "-pno:asyncio",
            "-Wignore:'isolated_filesystem' is deprecated:DeprecationWarning",
            # of a request that httpcore gives up; if and when it is collected is chance
            "-Wignore:Async generator 'httpx._content.ByteStream.__aiter__':ResourceWarning",
            "tests",
        ),
        replacement="resilient_httpx",
        port=8000,  # so it comes first: its runs are made one after the other, beside those of the others
    ),
    Suite("requests", "pyproject.toml", ("tests",)),
    Suite("responses", "tox.ini", ("--asyncio-mode=auto", "responses")),
    Suite(
        "vcrpy",
        "pyproject.toml",
        tuple(f"tests/integration/test_{name}.py" for name in ("requests", "proxy", "wild")),
        environment={"REQUESTS_CA_BUNDLE": certs.where()},
        files={".editorconfig": "root = true\n"},
    ),
)
