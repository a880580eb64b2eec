"""Makes calls until a number of them were interrupted by a signal handler; then prints the resources in use.

The handler raises, or with ``--calls`` makes a call of its own:

python -m tests.core.http.hostile.interrupted 10000 --seed 1
python -m tests.core.http.hostile.interrupted 10000 --seed 1 --calls
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import signal
import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from prometheus_client import REGISTRY

from core.http import Policy, ResilientSession
from core.http.origin import origin_of
from core.http.wire import resolver, tls_contexts
from core.http.wire.attempt_context import AttemptContext


class Interrupted(Exception):  # noqa: N818 - its name needs no suffix
    pass


class ForeignContext(ssl.SSLContext):
    """A custom TLS context, with which one handshake runs at a time."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def handle(self) -> None:
        with suppress(OSError):  # the client was interrupted
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


class Caller:
    """Makes calls, with timers that go off in the middle of them."""

    def __init__(self, seed: int, handler_calls: bool) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://localhost:{server.server_port}/"
        self.chance = random.Random(seed)
        self.session = ResilientSession(Policy(max_concurrency=2, total_timeout=20))
        self.session.trust_env = False
        self.foreign = ForeignContext(ssl.PROTOCOL_TLS_CLIENT)
        self.handler_calls = handler_calls
        self.armed = False
        self.interrupts = 0
        self.failed: list[str] = []
        signal.signal(signal.SIGALRM, self.interrupt)

    def interrupt(self, *_: object) -> None:
        if self.armed and self.handler_calls:
            self.call()
            self.interrupts += 1
        elif self.armed:
            raise Interrupted

    def call(self) -> None:
        if self.chance.random() < 0.3:
            self.session.close()  # so that names are looked up
        try:
            self.session.get(self.url)
        except requests.RequestException as exc:
            self.failed.append(f"{type(exc).__name__}: {exc}")

    def take_turns(self) -> None:
        with AttemptContext(20):
            for _ in range(100):
                tls_contexts.in_turn(self.foreign, self.session.adapters.keys)

    def call_until(self, interrupts: int) -> None:
        while self.interrupts < interrupts:
            signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.00002, 0.004))
            try:
                self.armed = True
                self.call()
                if not self.handler_calls:
                    self.take_turns()
                self.armed = False
            except Interrupted:
                self.armed = False
                self.interrupts += 1
        signal.setitimer(signal.ITIMER_REAL, 0)

    def what_is_left(self) -> dict[str, object]:
        gc.collect()
        began = time.monotonic()
        self.session.close()
        answered = self.session.get(self.url).ok
        adapter = self.session.get_adapter(self.url)
        upstream = adapter._registries.find().upstream(origin_of(self.url))  # type: ignore[attr-defined]
        return {
            "answered": answered,
            "seconds": time.monotonic() - began,
            "failed": self.failed[:5],
            "slots": len(upstream.limits.slots._holders) + len(upstream.limits.slots._queue),
            "breaker": upstream.breaker.state,
            "look-ups": len(resolver.other_hosts._workers),
            "turn taken": tls_contexts._contexts.turn(self.foreign).locked(),
            "in flight": REGISTRY.get_sample_value("outbound_http_active_requests", {"upstream": "other"}),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("interrupts", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", action="store_true")
    arguments = parser.parse_args()
    caller = Caller(arguments.seed, arguments.calls)
    caller.call_until(arguments.interrupts)
    print(json.dumps(caller.what_is_left()))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
