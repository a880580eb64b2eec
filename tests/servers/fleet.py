"""Processes that make calls on command, and share the state of their upstreams through a Redis server.

with Member(redis.url, upstream.netloc, retries=0) as member:
    print(member.get("/path"))
"""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Called:
    """The result of a call: the status, or the name of the error."""

    outcome: str
    seconds: float


class Member:
    """One of the processes."""

    def __init__(
        self, cache_url: str | None, netloc: str, *, socket_timeout: float = 0.5, patience: float = 0.1, **policy: Any
    ) -> None:
        """Start the process. `patience`: how long its calls wait for an election, longer on a busy machine."""
        setup = {"cache": cache_url, "netloc": netloc, "timeout": socket_timeout, "patience": patience}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.fleet", json.dumps({**setup, "policy": policy})],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def get(self, path: str = "/") -> Called:
        """Make a call, and return its result."""
        return Called(*self._ask(f"get {path}"))

    def begin(self, path: str = "/") -> None:
        """Make a call, and do not wait for its end."""
        self._tell(f"get {path}")

    def finish(self) -> Called:
        return Called(*self._hear())

    def state(self) -> str:
        """Return the state of the breaker, as this process knows it."""
        return str(self._ask("state"))

    def end(self, timeout: float) -> str:
        """End the process, and return the level and text of each log line."""
        _, log = self._process.communicate(timeout=timeout)
        assert self._process.returncode == 0, log
        return log

    def _ask(self, command: str) -> Any:
        self._tell(command)
        return self._hear()

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        return json.loads(line)


def main(setup: dict[str, Any]) -> None:
    gc.disable()  # while modules are imported, nothing of which is garbage
    from django.conf import settings  # noqa: PLC0415 - in the child only

    redis = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": setup["cache"],
        "OPTIONS": {
            "serializer": "core.http.django.json_serializer.JSONSerializer",
            "socket_timeout": setup["timeout"],
            "socket_connect_timeout": setup["timeout"],
        },
    }
    settings.configure(
        CACHES={"default": redis},
        OUTBOUND_HTTP={
            "upstreams": {"example": {"hosts": [setup["netloc"]], **setup["policy"]}},
            "shared_cache": "default" if setup["cache"] else None,
        },
    )
    import requests  # noqa: PLC0415 - as above

    from core.http import ResilientSession, process  # noqa: PLC0415 - as above
    from core.http.django import settings as outbound_settings  # noqa: PLC0415 - as above
    from core.http.origin import origin_of  # noqa: PLC0415 - as above
    from core.http.shared import probe_election  # noqa: PLC0415 - as above

    gc.freeze()
    gc.enable()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    probe_election.PATIENCE = setup["patience"]
    outbound_settings.configure()
    session = ResilientSession()
    session.trust_env = False
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "get":
            began = time.monotonic()
            try:
                outcome = str(session.get(f"http://{setup['netloc']}{path}").status_code)
            except requests.RequestException as exc:
                outcome = type(exc).__name__
            answer: Any = outcome, time.monotonic() - began
        else:
            upstream = process.current().upstream(origin_of(f"http://{setup['netloc']}/"))
            answer = upstream.breaker.state if upstream.breaker else "none"
        print(json.dumps(answer), flush=True)  # noqa: T201 - read by the test


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
