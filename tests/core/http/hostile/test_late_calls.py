"""Calls of a program that ends: where they get through with plain requests, they do with a ResilientSession."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import CA, certificate
from tests.core.http.misbehave import Then, reply


def run(session: str, when: str, scheme: str, serve: Serve) -> tuple[str, int]:
    """Run the script. Returns its output, and the number of requests that arrived."""
    server = serve(
        routes={"": reply(200, b"fine", then=Then.KEEP)}, context=certificate() if scheme == "https" else None
    )
    # By name, which is looked up in another thread; the certificate is for the address.
    url = server.url if scheme == "https" else server.url.replace("127.0.0.1", "localhost")
    command = [sys.executable, "-m", "tests.core.http.hostile.late", session, when, url, CA]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Exception ignored" not in done.stderr
    return done.stdout, len(server.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "when",
    [
        "atexit",
        "atexit, imported only then",
        "weakref.finalize",
        "at the end of threading",
        "in a thread that outlives the main one",
        "in a daemon thread during atexit",
    ],
)
def test_a_call_at_exit_is_answered(when: str, scheme: str, serve: Serve) -> None:
    """Looking names up needs no thread that could not be started any more."""
    assert run("ours", when, scheme, serve) == ("fine\n", 1)


@pytest.mark.parametrize(
    "when",
    [
        "__del__ of a global",
        "__del__ of a global after a call",
        "__del__ of a cycle after a call",
        "__del__ by the last collection",
    ],
)
def test_a_call_of_the_last_finalizers_gets_as_far_as_with_requests(when: str, serve: Serve) -> None:
    """A call of the last finalizers cannot read an answer, as nothing can be imported, but it sends its request."""
    assert run("ours", when, "http", serve) == run("plain", when, "http", serve)


def test_a_session_that_is_never_closed_keeps_no_process(serve: Serve) -> None:
    """Neither an open session nor an unread response keeps the process from ending."""
    assert run("ours", "never closed", "http", serve) == ("", 1)
