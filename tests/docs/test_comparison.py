"""docs/comparison.md has the results of `benchmarks.comparison`, with the versions."""

from __future__ import annotations

import re

import pytest

from benchmarks.comparison import CASES
from benchmarks.contenders import KNOWN, OURS, installed
from tests.pages import ROOT

PAGE = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
COMPARED = (ROOT / "benchmarks" / "comparison.txt").read_text(encoding="utf-8")
LOCKED = dict(
    re.findall(
        r"^([\w-]+)(?:\[\w+\])?==(\S+)$",
        (ROOT / "benchmarks" / "comparison.txt").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"requests"}))
def test_the_page_names_the_versions_that_are_installed(name: str) -> None:
    """Each library is on the page with the version of benchmarks/comparison.txt."""
    assert re.search(rf"^\| \[{name}\].*? \| {re.escape(LOCKED[name])} \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_on_the_page(case: object) -> None:
    """Each case is on the page, whichever library does well in it."""
    assert f"| {getattr(case, 'name', '')} |" in PAGE


def test_contenders_that_are_not_installed_are_left_out() -> None:
    """With the dependencies of the tests only, the installed libraries are compared, ours last."""
    names = [contender.name for contender, _ in installed()]
    assert {"requests", "urllib3 Retry", "tenacity"} <= set(names)
    assert names[-1] == OURS.name
