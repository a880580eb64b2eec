"""Scripts that fork: run in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run(script: str, *args: str) -> list[str]:
    """Run `script`, in which ``child(function)`` calls a function in a forked child, and return its output."""
    prelude = """
        import os, signal, sys, threading
        from core import http
        from core.http import Policy, ResilientAdapter, ResilientSession, api, process, registry
        from core.http.origin import Origin
        from core.http.process import ProcessRegistry

        def child(function):
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                signal.alarm(5)  # a child that hangs is killed
                status = 1
                try:
                    function()
                    sys.stdout.flush()
                    status = 0
                finally:
                    os._exit(status)
            _, status = os.waitpid(pid, 0)
            print("child", os.waitstatus_to_exitcode(status))
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
