"""Scripts that fork: run in a process of their own."""

from __future__ import annotations

import os
import textwrap

from tests.servers.preloaded import run_python


def run(script: str, *args: str) -> list[str]:
    """Run `script`, in which ``child(function)`` calls a function in a forked child, and return its output."""
    prelude = """
        import os, signal, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
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
    done = run_python(["-c", code, *args], os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
