"""A machine without file descriptors or threads: calls fail as RequestExceptions, and no upstream is blamed."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import requests

from core.http import CircuitBreaker, Policy, ResilientSession
from core.http.engine.attempt_health import Health, health_of
from core.http.outcome import Reason
from core.http.wire.attempt_context import Stage
from core.http.wire.error_outcomes import diagnose
from core.http.wire.sockets import DeadlineSocket
from tests.core.http.conftest import Serve, raising
from tests.core.http.hostile.conftest import Answers
from tests.core.http.hostile.scenarios import CA, FINE, certificate
from tests.core.http.misbehave import reply

WITHOUT_DESCRIPTORS = """
    import json, os, sys
    import requests
    from core.http import Policy, ResilientSession

    def fill():
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return held

    def error_of(call):
        try:
            return call() and ""
        except requests.RequestException as exc:
            return exc
"""


def run(script: str, *args: str, **environment: str) -> Any:
    """Run a script in a process that may open 64 files, and return what it printed as JSON."""
    code = textwrap.dedent(WITHOUT_DESCRIPTORS) + textwrap.dedent(script)
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n{code}"
    command = [sys.executable, "-c", limited, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment or None)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_file_descriptors(serve: Serve, tmp_path: Any) -> None:
    """Connecting, looking a name up and loading certificates fail alike, from the first call on, and are retried.

    With descriptors again, calls work again: no breaker has opened, and nothing else of the failures is left.
    """
    script = """
        bundle, *urls = sys.argv[1:]
        session = ResilientSession(Policy(retries=2, backoff=0, retry_budget=None))
        session.verify = bundle
        told = {}
        held = fill()
        for url in urls:
            for method in ("GET", "POST"):
                for _ in range(5):
                    error = error_of(lambda: session.request(method, url))
                told[f"{method} {url}"] = [type(error).__name__, [
                    (each.outcome.reason, each.outcome.detail, each.outcome.sent) for each in error.attempts
                ]]
        for descriptor in held:
            os.close(descriptor)
        print(json.dumps([told, [session.get(url).text for url in urls]]))
    """
    plain, tls = serve(FINE, FINE), serve(FINE, context=certificate())
    urls = [plain.url, plain.url.replace("127.0.0.1", "localhost"), tls.url]
    (tmp_path / "netrc").write_text("machine example.test login user password passw0rd")
    environment = {"NETRC": str(tmp_path / "netrc"), "NO_PROXY": "*"}
    told, texts = run(script, CA, *urls, **environment)
    assert texts == ["fine"] * 3
    assert len(told) == 6
    for error, attempts in told.values():
        assert (error, attempts) == ("ConnectionError", [["other", "EMFILE", False]] * 3)


def test_text_without_file_descriptors(serve: Serve) -> None:
    """If Python cannot import a codec, reading the text raises an error, also if the charset is to be guessed."""
    script = """
        session = ResilientSession(Policy())
        got = [session.get(sys.argv[1]), session.get(sys.argv[1])]
        held = fill()
        told = [type(error_of(lambda: response.text)).__name__ for response in got]
        told.append(type(error_of(lambda: list(got[0].iter_lines(decode_unicode=True)))).__name__)
        for descriptor in held:
            os.close(descriptor)
        print(json.dumps([told, got[0].text]))
    """
    text = "\u30c6\u30b9\u30c8".encode("shift_jis")
    server = serve(reply(200, text, "Content-Type: text/plain; charset=shift_jis"), reply(200, text))
    told, after = run(script, server.url, NO_PROXY="*")
    assert told == ["ContentDecodingError"] * 3
    assert after == "\u30c6\u30b9\u30c8"


LACKS = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN]
REFUSALS = [errno.EPERM, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EAFNOSUPPORT]


@pytest.mark.parametrize("number", LACKS + REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["socket", "connect", "getaddrinfo"])
def test_missing_local_resources_open_no_breaker(
    number: int, call: str, names: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the system are ConnectionErrors; missing local resources do not count as failures of the upstream."""
    error = OSError(number, "refused")
    names["refused.test"] = error if call == "getaddrinfo" else [("127.0.0.1", 1)]
    if call != "getaddrinfo":
        name = {"socket": "__init__", "connect": "connect"}[call]
        monkeypatch.setattr(DeadlineSocket, name, raising(error, "socket"), raising=False)
    policy = Policy(retries=0, circuit_breaker=CircuitBreaker(failures_in_a_row=3))
    with ResilientSession(policy) as session:
        session.trust_env = False
        raised = []
        for _ in range(4):
            with pytest.raises(requests.ConnectionError) as caught:
                session.get("http://refused.test/")
            raised.append(type(caught.value).__name__)
    assert raised[-1] == ("ConnectionError" if number in LACKS else "CircuitOpen")


def test_a_request_without_buffers_may_have_been_sent() -> None:
    """If buffers run out while a request is sent, the server may have received it, so a POST is not repeated."""
    outcome = diagnose(requests.ConnectionError(OSError(errno.ENOBUFS, "no buffer space")), Stage.SEND)
    assert (outcome.reason, outcome.transient, outcome.sent) == (Reason.CONNECT, True, True)
    assert health_of(outcome, any_host=False) is Health.FAILURE
