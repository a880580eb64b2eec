"""docs/versions.md lists the tested versions, and the changelog has the promised format."""

from __future__ import annotations

import re
from datetime import date

import pytest

from core.http.django.apps import OLDEST_DJANGO
from core.http.wire.supported_versions import FLOORS
from tests.pages import ROOT

PAGE = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
ROWS = {
    name.split(" (")[0]: (oldest, newest)
    for name, oldest, newest in re.findall(
        r"^\| ([\w -]+(?: \([^)]+\))?) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    )
}
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def locked(name: str, lock: str) -> list[str]:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    return re.findall(rf"^{name.lower()}==([\d.]+)", text, re.MULTILINE)


@pytest.mark.parametrize("name", ROWS)
def test_the_versions_are_those_that_ci_installs(name: str) -> None:
    """The oldest are the floors that are checked on import, the newest those of the lock of the tests."""
    oldest, newest = ROWS[name]
    if name == "Python":
        gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        assert f"oldest=$(find_python {oldest})" in gate
        assert f"newest=$(find_python {newest})" in gate
        return
    assert ".".join(map(str, FLOORS.get(name, OLDEST_DJANGO))) == oldest
    lowest = "dev.txt" if name == "httpx2" else "lowest.txt"  # it needs a newer idna than the library does
    assert [version for version in locked(name, lowest) if f"{version}.".startswith(f"{oldest}.")]
    assert [version for version in locked(name, "dev.txt") if f"{version}.".startswith(f"{newest}.")]


def test_every_library_has_a_row() -> None:
    """No floor that is checked on import is missing on the page."""
    assert set(ROWS) == {"Python", "Django", *FLOORS}


def test_the_changelog_has_its_form() -> None:
    """Unreleased first, then releases with their dates, the newest first; under each the kinds of changes."""
    first, *releases = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert first == "Unreleased"
    dates = [date.fromisoformat(re.fullmatch(r"\d+\.\d+\.\d+ - (\S+)", release)[1]) for release in releases]  # type: ignore[index]
    assert dates == sorted(dates, reverse=True)
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= KINDS
