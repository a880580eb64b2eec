"""Every block of Python on a page is run unchanged, or a comment before it says why not.

``<!-- example: … -->`` before a block, or ``<!-- examples: … -->`` for all blocks of a page, is one of

- ``conftest`` and ``test``: a conftest.py and a file of tests, run by pytest;
- ``test needs NAME``: such a file, run if there is such a module;
- ``settings``: settings of Django, with which `manage.py check` succeeds;
- ``tests/….py``: that file runs it, because it changes the process;
- ``needs NAME``: run if there is such a module, or such a name in one;
- ``raises NAME``: run, and ends with that error;
- ``imported as core.http``: run with that name for `outbound_http`, because a process takes one copy;
- ``not run: why``.

All others are run in order, in one namespace for each page, with a network on which every server answers 200 and {}.
"""

from __future__ import annotations

import ast
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import responses as responses_library
from django.test import override_settings

from core.http.django.checks import check_outbound_http
from tests.pages import PAGES, ROOT, Block, blocks

PYTHON = {page: found for page in PAGES if (found := [block for block in blocks(page) if block.language == "python"])}
AS_OURS = "imported as core.http"
ELSEWHERE = re.compile(r"tests/[\w/]+\.py")
CACHE = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": "redis://cache.test",
    "OPTIONS": {"serializer": "core.http.django.json_serializer.JSONSerializer"},
}
KNOWN = re.compile(
    rf"|conftest|test(?: needs [\w.]+)?|settings|{ELSEWHERE.pattern}|needs [\w.]+|raises \w+|{AS_OURS}|not run: .+",
    re.DOTALL,
)


def marked(marker: str) -> list[Any]:
    found = [block for page in PYTHON.values() for block in page if block.marker.split(" needs ")[0] == marker]
    return [pytest.param(block, id=block.where) for block in found]


def each_block() -> list[Any]:
    return [pytest.param(block, id=block.where) for page in PYTHON.values() for block in page]


@pytest.fixture
def _network() -> Iterator[None]:
    """Every server answers, so that an example shows nothing but itself."""
    with responses_library.RequestsMock(assert_all_requests_are_fired=False) as network:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
            network.add(method, re.compile(r"https?://.*"), json={})
        yield


def run(block: Block, names: dict[str, Any]) -> None:
    """Run a block as a part of a module; errors name the page and the line."""
    source = block.code.replace("outbound_http", "core.http") if block.marker == AS_OURS else block.code
    code = compile("\n" * (block.line - 1) + source, str(block.page), "exec", dont_inherit=True)
    exec(code, names)


def has_what_it_needs(block: Block) -> bool:
    if "needs " not in block.marker:
        return True
    try:
        pkgutil.resolve_name(block.marker.rpartition("needs ")[2])
    except (ImportError, AttributeError):
        return False
    return True


def is_to_be_run(block: Block) -> bool:
    if block.marker.startswith("needs "):
        return has_what_it_needs(block)
    return block.marker in {"", AS_OURS} or block.marker.startswith("raises ")


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("_network")
def test_the_blocks_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who pastes the blocks of a page one after the other gets no error, but where the page says so."""
    names: dict[str, Any] = {"__name__": "example"}
    monkeypatch.setitem(sys.modules, "example", type(sys)("example"))
    for block in PYTHON[page]:
        if not is_to_be_run(block):
            continue
        if block.marker.startswith("raises "):
            with pytest.raises(Exception) as caught:
                run(block, names)
            assert caught.type.__name__ == block.marker.removeprefix("raises ")
        else:
            run(block, names)


@pytest.mark.parametrize("block", each_block())
def test_every_block_is_python_with_a_known_marker(block: Block) -> None:
    """Blocks that are not run are Python too, and have one of the markers above."""
    ast.parse(block.code)
    assert KNOWN.fullmatch(block.marker), block.marker
    if ELSEWHERE.fullmatch(block.marker):
        assert f'examples("{block.page.name}")' in (ROOT / block.marker).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", marked("test"))
def test_the_tests_of_a_page_pass(block: Block, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conftest.py and the tests that a page shows, in a folder of their own."""
    if not has_what_it_needs(block):
        pytest.skip(f"it {block.marker.removeprefix('test ')}")
    for other in PYTHON[block.page]:
        if other.marker == "conftest":
            pytester.makeconftest(other.code)
    pytester.makepyfile(block.code)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # most take seconds, and no page needs them
    plugins = ("anyio", "pytest_httpx") if "httpx_mock" in block.code else ()
    options = [option for plugin in plugins for option in ("-p", plugin)]
    pytester.runpytest_subprocess(*options, "-p", "no:cacheprovider").assert_outcomes(
        passed=len(re.findall(r"^(?:async )?def test_", block.code, re.MULTILINE))
    )


@pytest.mark.parametrize("block", marked("settings"))
def test_the_settings_of_a_page_are_valid(block: Block) -> None:
    """`manage.py check` finds nothing wrong with them."""
    names: dict[str, Any] = {"INSTALLED_APPS": [], "MIDDLEWARE": []}
    run(block, names)
    found = {name: value for name, value in names.items() if name.isupper()}
    assert len(found) > 2 or "OUTBOUND_HTTP" in found
    with override_settings(**{"CACHES": {"default": CACHE}, **found}):
        assert check_outbound_http() == []
