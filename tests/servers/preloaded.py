"""Runs Python programs in processes that are forked from one which has imported other libraries already.

Importing these takes most of the CPU time of a short program. The site and core.http are not among them.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "celery.worker.worker",
    "dj_database_url",
    "django.contrib.auth.hashers",
    "django.core.management",
    "django.core.serializers.json",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.forms",
    "django.middleware.common",
    "django.template.backends.django",
    "django.test.signals",
    "django.views.generic",
    "environs",
    "kombu.serialization",
    "packaging.requirements",
    "redis",
    "requests",
    "rich.console",
    "whitenoise.middleware",
    "yaml",
)
"""None of them reads the environment when it is imported."""
LONGEST = 120
"""Seconds after which a program is killed."""


def run_python(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``python *arguments`` in a new process, in the repository. Its only options are ``-c`` and ``-m``."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (stdout, stderr)]
        server = _server()
        assert server.stdin
        assert server.stdout
        server.stdin.write(f"{json.dumps([list(arguments), dict(env), *paths])}\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(list(arguments), status, stdout.read(), stderr.read())


@cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "tests.servers.preloaded"]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    """Fork a process for each order, until one of them returns from here to become the program."""
    for name in LIBRARIES:
        import_module(name)
    gc.freeze()  # so that no process looks for garbage in them, above all when it ends
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _become(*json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))  # noqa: T201 - the answer


def _become(arguments: list[str], env: dict[str, str], stdout: str, stderr: str) -> None:
    for path, number in ((os.devnull, 0), (stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)
    signal.alarm(LONGEST)
    os.environ.clear()
    os.environ.update(env)
    kind, *rest = arguments
    path = env.get("PYTHONPATH")
    own = str(Path(kind).parent.resolve()) if kind.endswith(".py") else ""
    sys.path[:1] = [own, *(path.split(os.pathsep) if path else ())]
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(rest[0], "<string>", "exec"), names)
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    _serve()
