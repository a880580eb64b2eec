"""Imports point downwards only, as docs/architecture.md says."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

import core.http

HERE = Path(core.http.__file__).parent
PAGE = HERE.parent.parent / "docs" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(HERE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(HERE.rglob("*.py"))
}
CLIENTS = {"requests", "urllib3", "httpx", "socks"}
OUTSIDE_WORLD = {"socket", "ssl", "time", "random", "asyncio", "selectors"}


def allowed() -> dict[str, set[str]]:
    """Read the table of the page: what each package, or module at the top, may import."""
    rows = re.findall(r"^\| `([^`|]+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"`([^`]+)`", imports)) for names, imports in rows for name in names.split("`, `")}


def imports_of(module: str) -> set[str]:
    """List every module that `module` imports, wherever in it: those of the library without its name, with a dot."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" and module != "__init__" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            name = ".".join(part for part in base if part)
            found |= {
                f".{inner}" if (inner := f"{name}.{alias.name}".lstrip(".")) in MODULES else f".{name}"
                for alias in node.names
            }
    return found


def siblings_of(module: str) -> set[str]:
    return {name[1:] for name in imports_of(module) if name.startswith(".")} - {module}


def room_of(module: str) -> str:
    return module.split(".")[0]


def test_every_module_is_in_the_table() -> None:
    """A new package, or a new module at the top, gets a row that says what it may import."""
    assert {room_of(module) for module in MODULES} == set(allowed())


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    """A module imports its own package and those that the table allows."""
    rooms = {room_of(sibling) for sibling in siblings_of(module)}
    assert rooms - {room_of(module)} <= allowed()[room_of(module)]


def test_the_table_goes_in_no_circle() -> None:
    """What the page allows is an order."""
    assert list(TopologicalSorter(allowed()).static_order())


def test_imports_go_in_no_circle() -> None:
    """Within a package there is an order as well."""
    assert list(TopologicalSorter({module: siblings_of(module) for module in MODULES}).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_the_library_knows_neither_the_site_nor_a_framework(module: str) -> None:
    """Only the Django app imports Django, only testing.py pytest; nothing imports the site, nor the folder by its name."""
    outside = {name.split(".")[0] for name in imports_of(module) if not name.startswith(".")}
    known = {"django": {"django", "rich"}, "testing": {"pytest"}}.get(room_of(module), set())
    assert outside & {"django", "rich", "pytest", "httpx", "package", "config", "core", "tests"} <= known
    assert "socks" not in outside or module == "wire.socks_proxy"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if room_of(name) in {"engine", "errors", "events", "outcome", "policy"}]
)
def test_the_engine_knows_no_client(module: str) -> None:
    """Decisions are made without I/O: no client, no socket, no clock and no chance of its own."""
    assert {name.split(".")[0] for name in imports_of(module)} & (CLIENTS | OUTSIDE_WORLD) == set()


def test_files_are_small() -> None:
    """A file has one idea: no more than 300 lines, half of them no more than 90."""
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
    assert median(count for count in lines.values() if count) <= 90
