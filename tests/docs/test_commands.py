"""Every command that a page names exists, with the options that the page gives it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from tests.pages import PAGES, ROOT, blocks

SHELL = {"", "sh", "console"}
OURS = {path.stem for path in ROOT.glob("*/management/commands/[a-z]*.py")} | {
    path.stem for path in ROOT.glob("core/http/django/management/commands/[a-z]*.py")
}

OF_TASK_QUEUES = {"qcluster", "rqworker", "run_huey", "db_worker", "rundramatiq"}
"""Start workers of packages that are not installed here."""


def commands_of(page: Path) -> list[str]:
    """Return the lines of the shell blocks of a page, and its inline code."""
    lines = [
        line.split(" #")[0]
        for block in blocks(page)
        if block.language in SHELL
        for line in block.code.replace("\\\n", " ").splitlines()
    ]
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for line in lines + re.findall(r"`([^`\n]+)`", text) if line.strip()]


def found(pattern: str) -> list[Any]:
    """Return the matches of `pattern` in the commands of all pages, once for each page."""
    return [
        pytest.param(*match.groups(), id=f"{page.stem}: {match[0]}"[:70])
        for page in PAGES
        for match in {line: re.search(pattern, line) for line in commands_of(page)}.values()
        if match
    ]


def command(name: str) -> BaseCommand:
    return load_command_class(get_commands()[name], name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    found(r"manage\.py ([a-z_]+)(.*)") + found(rf"^({'|'.join(sorted(OURS))})((?: -.*)?)$"),
)
def test_management_commands_exist(name: str, arguments: str) -> None:
    """Each command is one of Django's or the site's, and knows each option."""
    if name in OF_TASK_QUEUES:
        return
    known = command(name).create_parser("manage.py", name)._option_string_actions
    assert [option for option in re.findall(r"(?<= )--[a-z-]+", arguments) if option not in known] == []


@pytest.mark.parametrize("target", found(r"^make ([a-z]+)"))
def test_targets_of_make_exist(target: str) -> None:
    """Each target is one that `make help` lists."""
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("module", found(r"python -m ([\w.]+)"))
def test_modules_that_are_run_exist(module: str) -> None:
    """Each `python -m` names a module of this repository, or of the environment."""
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize("names", found(r"^(?:python -m )?pip install (?!-r)([^-].*)"))
def test_packages_to_install_are_tested_here(names: str) -> None:
    """Each package that a page installs is in the lock of the tests, or is this library."""
    lock = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").lower()
    for name in re.findall(r"(?:^| )[\"']?(?!dist/)([\w-]+)", names):
        assert name.startswith("outbound-http") or re.search(rf"^{name.lower()}==", lock, re.MULTILINE), name


@pytest.mark.parametrize(("verb", "rest"), found(r"docker compose (up|stop|run|exec|ps|logs|restart)( .*|$)"))
def test_services_exist(verb: str, rest: str) -> None:
    """Each service that a page starts, stops or enters is in compose.yaml."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    named = [word for word in rest.split("<", maxsplit=1)[0].split() if not word.startswith("-") and not word.isdigit()]
    assert [word for word in (named[:1] if verb in {"run", "exec"} else named) if word not in services | {"…": 0}] == []
