"""The rooms of the house: imports point downwards only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import core.http

HERE = Path(core.http.__file__).parent
MODULES = sorted(path.stem for path in HERE.glob("*.py"))
LAYERS = (
    {"errors", "policy", "outcome", "backoff", "window", "facts", "breaker", "budget", "gate", "limits"},
    {"events", "scope", "fork", "guard", "redact"},
    {"engine"},
    {"shared", "election", "exchange", "news", "newsroom"},
    {"resolver", "dial", "tls", "connections", "socks_proxy"},
    {"body", "failures", "response", "streamed"},
    {"logs", "metrics"},
    {"registry"},
    {"transport", "adapter", "session", "api", "standing"},
    {"conf", "testing", "__init__"},
)


def imports_of(module: str) -> set[str]:
    """Every module that `module` imports, wherever in it, by full name."""
    names = set()
    for node in ast.walk(ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names |= {
                f"{node.module}.{alias.name}" if node.module == "core.http" else str(node.module)
                for alias in node.names
            }
    return names


def siblings_of(module: str) -> set[str]:
    return {name.removeprefix("core.http.") for name in imports_of(module) if name.startswith("core.http.")}


def layer_of(module: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if module in layer)


def test_every_module_has_its_place() -> None:
    """A new module is given a place in the order above."""
    assert sorted(module for layer in LAYERS for module in layer) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    """A module imports its own layer and those below it, never one above."""
    assert {sibling for sibling in siblings_of(module) if layer_of(sibling) > layer_of(module)} == set()


def test_imports_go_in_no_circle() -> None:
    """Within a layer there is an order as well."""
    assert list(TopologicalSorter({module: siblings_of(module) for module in MODULES}).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_the_library_knows_neither_the_site_nor_a_framework(module: str) -> None:
    """Only conf.py imports Django, only testing.py pytest; nothing imports the site."""
    allowed = {"conf": {"django"}, "testing": {"pytest"}}.get(module, set())
    outside = {name.split(".")[0] for name in imports_of(module) if not name.startswith("core.http")}
    assert outside & {"django", "pytest", "httpx", "package", "config", "core", "tests"} <= allowed


@pytest.mark.parametrize(
    "module", sorted(LAYERS[0] - {"errors", "breaker", "budget", "gate", "limits"} | {"events", "engine"})
)
def test_the_engine_knows_no_client(module: str) -> None:
    """Decisions are made without I/O: no client, no socket, no clock and no chance of its own."""
    forbidden = {"requests", "urllib3", "socket", "ssl", "time", "random", "threading", "asyncio"}
    assert {name.split(".")[0] for name in imports_of(module)} & forbidden == set()
