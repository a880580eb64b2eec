"""The examples on the pages of docs/, for tests that run them unchanged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    ROOT / "core" / "http" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_BLOCK = re.compile(
    r"^(?:<!-- example: (?P<marker>[^>]+) -->\n+)?"
    r"^(?P<fence>`{3,})(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code on a page."""

    page: Path
    line: int
    """Where its code begins."""
    language: str
    code: str
    marker: str
    """What the comment ``<!-- example: … -->`` before it says, or ``<!-- examples: … -->`` of its page; "": neither."""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return all fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    all_of_them = re.search(r"^<!-- examples: ([^>]+) -->$", text, re.MULTILINE)
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")) + 1,
            found["language"],
            found["code"],
            (found["marker"] or (all_of_them[1] if all_of_them else "")).strip(),
        )
        for found in _BLOCK.finditer(text)
    ]


def examples(page: str, language: str = "python") -> list[str]:
    """Return the blocks of code in `language` on a page of docs/, in order."""
    return [block.code for block in blocks(ROOT / "docs" / page) if block.language == language]


def text_of(page: str, heading: str) -> str:
    """Return the section of a page that begins with `heading`."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return text[text.index(heading) :].split("\n## ")[0]


def documented_keys(where: str) -> set[str]:
    """Return the keys of a run's JSON in docs/operations.md, with threads or with Celery."""
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", text_of("operations.md", "## Machine-readable output"), re.MULTILINE)
    return {key for keys, column in rows if column in {"both", where} for key in re.findall(r"`(\w+)`", keys)}


def table(page: str, heading: str = "") -> dict[str, list[str]]:
    """Return the rows of the tables of a page, from `heading` on, by the code in their first cell."""
    text = (ROOT / "docs" / page).read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text[text.index(heading) :], re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}
