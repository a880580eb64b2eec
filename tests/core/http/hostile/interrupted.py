"""Makes calls until so many were interrupted by a signal handler that raises; then says what is left. Run as a script.

python -m tests.core.http.hostile.interrupted 10000 --seed 1
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import signal
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from core.http import Policy, ResilientSession
from core.http.origin import origin_of
from core.http.wire import resolver


class Interrupted(Exception):  # noqa: N818 - what it says is in its name
    pass


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("interrupts", type=int)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_port}/"
    chance = random.Random(arguments.seed)
    armed = False

    def interrupt(*_: object) -> None:
        if armed:
            raise Interrupted

    signal.signal(signal.SIGALRM, interrupt)
    session = ResilientSession(Policy(max_concurrency=2, total_timeout=20))
    session.trust_env = False
    interrupts, failed = 0, []
    while interrupts < arguments.interrupts:
        if chance.random() < 0.3:
            session.close()  # so that names are looked up
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.004))
        try:
            armed = True
            session.get(url)
            armed = False
        except Interrupted:
            armed = False
            interrupts += 1
        except requests.RequestException as exc:
            armed = False
            failed.append(f"{type(exc).__name__}: {exc}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    began = time.monotonic()
    session.close()
    answered = session.get(url).ok
    upstream = session.get_adapter(url)._registry().upstream(origin_of(url))  # type: ignore[attr-defined]
    print(  # noqa: T201 - what the test reads
        json.dumps(
            {
                "answered": answered,
                "seconds": time.monotonic() - began,
                "failed": failed[:5],
                "slots": len(upstream.limits.slots._holders) + len(upstream.limits.slots._queue),
                "breaker": upstream.breaker.state,
                "look-ups": len(resolver.other_hosts._workers),
            }
        )
    )


if __name__ == "__main__":
    main()
