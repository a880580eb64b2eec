"""The reference describes every public name, with its parameters or fields."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from core import http
from tests.docs.built import problems
from tests.pages import ROOT

REFERENCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
INSTANCES = {"WEB_REQUEST"}
"""Documented by a string after them, as attributes are."""
HELPERS = {"get", "head", "options", "post", "put", "patch", "delete"}
"""Take the arguments of requests' function of the same name."""


def described(kind: Any) -> set[str]:
    """Return the fields of a class that have a string after them."""
    source = inspect.getsource(kind)
    return set(re.findall(r'^    (\w+): [^\n]*?(?:\n        .*?\n    \))?\n    """', source, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", http.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    """Each name of `core.http` has an entry with a text."""
    assert re.search(rf"^\.\. auto\w+:: {name}$", REFERENCE, re.MULTILINE)
    assert name in INSTANCES or inspect.getdoc(getattr(http, name))


@pytest.mark.parametrize("name", sorted(set(http.__all__) - INSTANCES - HELPERS))
def test_every_parameter_is_described(name: str) -> None:
    """Each parameter of a function or class, and each field of a policy, has a description."""
    thing = getattr(http, name)
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    if dataclasses.is_dataclass(thing):
        fields = {field.name for field in dataclasses.fields(thing)}
        assert fields - described(thing) == set()
        return
    documented = set(re.findall(r":param (\w+):", str(inspect.getdoc(thing))))
    parameters = {
        each.name
        for each in inspect.signature(thing).parameters.values()
        if not each.name.startswith("_") and each.kind is not each.VAR_KEYWORD
    }
    assert parameters - documented == set()


def test_a_built_site_is_checked(tmp_path: Path) -> None:
    """`make docs` finds broken links and anchors, and files that are loaded from another server."""
    (tmp_path / "good.html").write_text('<h1 id="top"><a href="#top">a</a><a href="https://example.org/">b</a>')
    assert problems(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<a href="good.html#gone">a</a><a href="gone.html">b</a><img src="https://example.org/x.png">'
    )
    (tmp_path / "bad.css").write_text("@import url(//fonts.example.org/x.css); a { background: url(x.png) }")
    assert sorted(problems(tmp_path)) == [
        "bad.css fetches //fonts.example.org/x.css",
        "bad.html fetches https://example.org/x.png",
        "bad.html: gone.html leads nowhere",
        "bad.html: good.html#gone names no anchor of that page",
    ]
