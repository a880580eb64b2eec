"""Programs under gevent: run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]
PATCHED = """
    import gc
    gc.disable()  # while modules are imported, nothing of which is garbage
    from gevent import monkey
    monkey.patch_all()
    import os, socket, ssl, time
    import gevent, requests
    from gevent.event import Event
    from core.http import Policy, ResilientSession, observe
    from core.http.events import RetryScheduled
    from tests.core.http.greenlets import *
    gc.freeze()
    gc.enable()

    def failure(call, *args, **kwargs):
        try:
            return f"answered {call(*args, **kwargs).status_code}"
        except requests.RequestException as exc:
            return exc

    def session(**policy):
        made = ResilientSession(Policy(**{"retries": 0, **policy}))
        made.trust_env, made.verify = False, CA
        return made
"""


def run(program: str, prelude: str = PATCHED) -> list[str]:
    """Run a program in a process of its own, because gevent's patches cannot be undone. Returns its output."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(prelude) + textwrap.dedent(program)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
