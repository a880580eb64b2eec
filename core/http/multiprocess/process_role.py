"""Determines the role of a process from the environment or from the program that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from ..log import logger

ROLES = ("web", "worker", "job")
ROLE_VARIABLE = "OUTBOUND_HTTP_ROLE"
"""Environment variable with the role, for processes whose command line does not show it."""

_WORKERS = frozenset({"dramatiq", "huey_consumer", "huey_consumer.py", "rqworker"})
"""Programs that only run tasks."""
_WORKERS_BY_ARGUMENT = {"celery": ("worker",), "rq": ("worker", "worker-pool")}
"""Programs that run tasks if one of these arguments is given. With other arguments, they make no calls."""
_WORKER_COMMANDS = frozenset({"db_worker", "qcluster", "rqworker", "rqworker-pool", "run_huey", "rundramatiq"})
"""Management commands of django-tasks, django-q2, django-rq, huey and django-dramatiq that run tasks."""


class ProcessRole(NamedTuple):
    """The role of a process in the site."""

    role: str
    command: str = ""
    """For a job: the management command or the name of the script; otherwise empty."""


def role_of(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> ProcessRole | None:
    """Return the role from OUTBOUND_HTTP_ROLE in `environment`, otherwise from `arguments`, which is ``sys.argv``.

    None: the process makes no calls, for example Celery's beat or `celery inspect`. A program that is neither a queue
    worker nor a management command has the role web, for example gunicorn, uvicorn or granian. An unknown role in
    `environment` is logged and ignored.
    """
    named = (environment or {}).get(ROLE_VARIABLE, "")
    guess = _guess(arguments)
    if not named:
        return guess
    if named not in ROLES:
        logger.error("%s=%r is ignored: it must be one of %s", ROLE_VARIABLE, named, ", ".join(ROLES))
        return guess
    if named != "job":
        return ProcessRole(named)
    return guess if guess and guess.role == "job" else ProcessRole(named, PurePath(_program(arguments)).stem)


def _guess(arguments: Sequence[str]) -> ProcessRole | None:
    name = _program(arguments)
    if name in _WORKERS_BY_ARGUMENT:
        return ProcessRole("worker") if {*_WORKERS_BY_ARGUMENT[name]} & {*arguments[1:]} else None
    if name in {"manage.py", "django-admin", "django"}:
        command = next((argument for argument in arguments[1:] if not argument.startswith("-")), "help")
        if command in _WORKER_COMMANDS:
            return ProcessRole("worker")
        return ProcessRole("web") if command == "runserver" else ProcessRole("job", command)
    return ProcessRole("worker" if name in _WORKERS else "web")


def _program(arguments: Sequence[str]) -> str:
    program = PurePath(arguments[0] if arguments else "")
    return program.parent.name if program.name == "__main__.py" else program.name  # python -m celery
