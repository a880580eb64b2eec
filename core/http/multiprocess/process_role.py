"""Which part a process plays, by the program it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

ROLES = ("web", "worker", "job")


class ProcessRole(NamedTuple):
    """What a process is in the site."""

    role: str
    command: str = ""
    """Of a job: the management command."""


def role_of(arguments: Sequence[str]) -> ProcessRole | None:
    """Read it from ``sys.argv``; None: one that makes no calls, as Celery's beat and its `inspect`.

    Whatever is neither Celery nor a management command serves the web: gunicorn, uvicorn, granian, …
    """
    program = PurePath(arguments[0] if arguments else "")
    name = program.parent.name if program.name == "__main__.py" else program.name  # python -m celery
    if name == "celery":
        return ProcessRole("worker") if "worker" in arguments[1:] else None
    if name in {"manage.py", "django-admin", "django"}:
        command = next((argument for argument in arguments[1:] if not argument.startswith("-")), "help")
        return ProcessRole("web") if command == "runserver" else ProcessRole("job", command)
    return ProcessRole("web")
