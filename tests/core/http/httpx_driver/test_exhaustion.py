"""A machine without file descriptors: calls fail as errors of httpx, and no upstream is blamed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from core.http.engine.attempt_health import Health, health_of
from core.http.httpx_driver.diagnosis import diagnose
from core.http.outcome import Reason
from core.http.wire.attempt_context import AttemptContext, Stage
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply

WITHOUT_DESCRIPTORS = """
import importlib, json, os, resource, sys
import anyio
from core.http import Policy

name, loop, url = sys.argv[1:]
driver, library = importlib.import_module(f"core.http.{name}"), importlib.import_module(name)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def fill():
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return held


async def main():
    told = []
    async with driver.AsyncResilientClient(Policy(retries=1, backoff=0, retry_budget=None)) as client:
        held = fill()
        for host in ("127.0.0.1", "localhost"):
            for _ in range(6):
                try:
                    await client.get(url.replace("127.0.0.1", host))
                except library.ConnectError as error:
                    told += [[each.outcome.reason, each.outcome.detail, each.outcome.sent] for each in error.attempts]
        for descriptor in held:
            os.close(descriptor)
        print(json.dumps([told, (await client.get(url)).text]))


options = {"use_uvloop": loop == "uvloop"} if loop != "trio" else {}
anyio.run(main, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_without_file_descriptors(name: str, loop: str, serve: Serve) -> None:
    """Without file descriptors, connections and look-ups fail with their reasons and are retried; later calls work."""
    server = serve(reply(200, b"fine"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS, name, loop, server.url],
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, text = json.loads(done.stdout)
    assert told == [["other", "EMFILE", False]] * 24
    assert text == "fine"


def test_a_request_without_buffers_may_have_been_sent(library: ModuleType) -> None:
    """If buffers run out while a request is sent, the server may have received it, so a POST is not repeated."""
    error = library.WriteError("no buffer space")
    error.__cause__ = OSError(errno.ENOBUFS, "no buffer space")
    attempt = AttemptContext(10)
    attempt.stage = Stage.SEND
    outcome = diagnose(library, error, attempt)
    assert (outcome.reason, outcome.transient, outcome.sent) == (Reason.CONNECT, True, True)
    assert health_of(outcome, any_host=False) is Health.FAILURE
