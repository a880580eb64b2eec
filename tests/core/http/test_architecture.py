"""Imports point downwards only, as docs/architecture.md says."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import core.http

HERE = Path(core.http.__file__).parent
PAGE = HERE.parent.parent / "docs" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(HERE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(HERE.rglob("*.py"))
}
DECISIONS = ("engine", "errors", "events", "fork", "log", "origin", "outcome", "policy", "value", "verdict")
"""What decides, and what everything else is made of."""
CLIENTS = {"requests", "urllib3", "httpx", "httpx2", "anyio", "socks"}
OUTSIDE_WORLD = {"socket", "ssl", "time", "random", "asyncio", "selectors"}
SITE = {"benchmarks", "config", "core", "grafana", "package", "tests"}
LONGEST_FILE = 300
MEDIAN_FILE = 90


def _read_table() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `([^`|]+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"`([^`]+)`", imports)) for name, imports in rows}


ALLOWED = _read_table()
"""What each package, or module at the top, may import: the table of the page."""


@cache
def nodes_of(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


@cache
def imports_of(module: str) -> set[str]:
    """List every module that `module` imports, wherever in it: those of the library without its name, with a dot."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" and module != "__init__" else module.split(".")[:-1]
    found = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package) + 1, f"{module} imports what is outside of the folder"
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            name = ".".join(part for part in base if part)
            found |= {
                f".{inner}" if (inner := f"{name}.{alias.name}".lstrip(".")) in MODULES else f".{name}"
                for alias in node.names
            }
    return found


def siblings_of(module: str) -> set[str]:
    return {name[1:] for name in imports_of(module) if name.startswith(".")} - {module}


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def packages_imported_by(module: str) -> set[str]:
    return {package_of(sibling) for sibling in siblings_of(module)} - {package_of(module)}


def existing(wrong: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the modules of which something is wrong, with what it is."""
    return {module: found for module, found in wrong.items() if found}


def test_every_module_is_in_the_table() -> None:
    """Each package and each top-level module has a row with its allowed imports."""
    assert {package_of(module) for module in MODULES} == set(ALLOWED)


def test_imports_point_downwards() -> None:
    """A module imports its own package and those that the table allows."""
    wrong = {module: packages_imported_by(module) - ALLOWED[package_of(module)] for module in MODULES}
    assert existing(wrong) == {}


def test_the_table_allows_no_more_than_is_used() -> None:
    """An import that is gone leaves the table as well, so the page shows the arrows that there are."""
    used: dict[str, set[str]] = {}
    for module in MODULES:
        used.setdefault(package_of(module), set()).update(packages_imported_by(module))
    assert used == ALLOWED


def test_the_table_has_no_cycle() -> None:
    """Each row of the table imports only rows above it."""
    rows = list(ALLOWED)
    assert [(row, name) for row in rows for name in ALLOWED[row] if rows.index(name) >= rows.index(row)] == []


def test_imports_go_in_no_circle() -> None:
    """Within a package there is an order as well."""
    assert list(TopologicalSorter({module: siblings_of(module) for module in MODULES}).static_order())


def test_the_library_knows_neither_the_site_nor_a_framework() -> None:
    """Only django/ imports Django, testing.py pytest, and each driver its client; no module imports the site."""
    drivers = {"httpx": {"httpx", "httpcore"}, "httpx2": {"httpx2", "httpcore2"}, "httpx_driver": {"anyio"}}
    known = {"django": {"django"}, "testing": {"pytest"}, "wire.socks_proxy": {"socks"}, **drivers}
    clients = {"anyio", "httpcore", "httpcore2", "httpx", "httpx2", "socks"}
    wrong = {}
    for module in MODULES:
        outside = {name.split(".")[0] for name in imports_of(module) if not name.startswith(".")}
        foreign = outside & ({"django", "rich", "pytest"} | clients | SITE)
        wrong[module] = foreign - known.get(module, known.get(package_of(module), set()))
    assert existing(wrong) == {}


def test_django_is_not_imported_by_name_either() -> None:
    """Outside of django/, only missing_django_app names modules of Django, to look them up where they are loaded."""
    wrong = {}
    for module in MODULES:
        nodes = nodes_of(module)
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        wrong[module] = {text for text in texts if re.fullmatch(r"django(\.\w+)+", text)}
        if module == "missing_django_app":
            wrong[module] ^= {
                argument.value
                for node in nodes
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.modules.get"
                for argument in node.args
                if isinstance(argument, ast.Constant)
            }
    assert existing({module: found for module, found in wrong.items() if package_of(module) != "django"}) == {}


def test_the_engine_knows_no_client() -> None:
    """Decisions are made without I/O: no client, no socket, no clock and no chance of its own."""
    decisions = [module for module in MODULES if package_of(module) in DECISIONS]
    imported = {module: {name.split(".")[0] for name in imports_of(module)} for module in decisions}
    assert existing({module: names & (CLIENTS | OUTSIDE_WORLD) for module, names in imported.items()}) == {}


def test_loggers_have_the_name_that_is_documented() -> None:
    """Every logger is named core.http, in a copy with another name too; the logger of httpx is only filtered."""
    wrong = {}
    for module in MODULES:
        names = {
            ast.unparse(node.args[0])
            for node in nodes_of(module)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
        }
        wrong[module] = names - {"'core.http'", *(["httpx.__name__"] if module == "httpx_driver.log_filter" else [])}
    assert existing(wrong) == {}


def test_files_are_small() -> None:
    """A file has one idea: no more than 300 lines, half of them no more than 90."""
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}
    assert median(count for count in lines.values() if count) <= MEDIAN_FILE


def test_templates_are_the_apps_own() -> None:
    """No template of the adopter's or of the admin is overridden: all are in a folder that has the label of the app."""
    folder = HERE / "django" / "templates"
    found = [path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()]
    assert found
    assert set(found) == {"outbound_http"}
