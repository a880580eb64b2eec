"""Memory, threads and open files that hostile servers cost, measured in a process of its own."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from typing import Any

import pytest

from tests.core.http.conftest import Serve
from tests.core.http.hostile.scenarios import FINE, certificate
from tests.core.http.misbehave import MisbehavingServer, Reply, Then, reply

MOST_GROWTH = 64
"""MiB."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
LIMIT = 32 * 2**20


def bomb() -> bytes:
    """Return a gzip stream of about 1 MiB that unpacks to 1 GiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(b"\0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(b"\0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated as it is
    return first + again * 1023


def gzipped(data: bytes, encoding: str = "gzip", status: int = 200, *headers: str) -> Reply:
    return reply(status, data, f"Content-Encoding: {encoding}", *headers)


@pytest.fixture(scope="module")
def bombs() -> dict[str, Reply]:
    big = bomb()
    deep = gzip.compress(gzip.compress(gzip.compress(gzip.compress(big))))
    block = b"x" * 65536
    return {
        "fine": FINE,
        "bomb": gzipped(big),
        "bomb-in-chunks": Reply(
            CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n%x\r\n" % len(big) + big + b"\r\n0\r\n\r\n"
        ),
        "bomb-deflate": gzipped(big[10:], "deflate"),
        "nested-bomb": gzipped(gzip.compress(big), "gzip, gzip"),
        "bomb-five-deep": gzipped(deep, "gzip, gzip, gzip, gzip, gzip"),
        "bomb-503": gzipped(big, "gzip", 503),
        "bomb-redirect": gzipped(big, "gzip", 302, "Location: /fine"),
        "endless": Reply(b"HTTP/1.1 200 OK\r\n\r\n", Then.CLOSE, block),
        "endless-chunks": Reply(CHUNKED, Then.CLOSE, b"10000\r\n" + block + b"\r\n"),
        "endless-chunk": Reply(CHUNKED + b"ffffffffff\r\n", Then.CLOSE, block),
        "endless-tiny-chunks": Reply(CHUNKED, Then.CLOSE, b"1\r\nx\r\n" * 4096, times=100),
        "endless-interim": Reply(b"", Then.CLOSE, b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        "endless-headers": Reply(b"HTTP/1.1 200 OK\r\n", Then.CLOSE, b"X-Many: 1\r\n" * 100),
        "endless-header": Reply(b"HTTP/1.1 200 OK\r\nX-Long: ", Then.CLOSE, block),
        "endless-trailers": Reply(CHUNKED + b"0\r\n", Then.CLOSE, b"X-Many: 1\r\n" * 100),
        "endless-chunk-size": Reply(CHUNKED, Then.CLOSE, b"0" * 65536),
        "endless-redirect": Reply(b"HTTP/1.1 302 Found\r\nLocation: /fine\r\n\r\n", Then.CLOSE, block),
        "largest": reply(200, b"x" * LIMIT),
        "largest-packed": gzipped(gzip.compress(b"x" * LIMIT, 1)),
    }


@pytest.fixture
def server(bombs: dict[str, Reply], serve: Serve) -> MisbehavingServer:
    return serve(routes=bombs)


def measure(*args: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.core.http.hostile.in_child", *args]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)  # type: ignore[no-any-return]


BODIES_TOO_LARGE = [
    "bomb",
    "bomb-in-chunks",
    "bomb-deflate",
    "nested-bomb",
    "bomb-five-deep",
    "bomb-503",
    "endless",
    "endless-chunks",
    "endless-chunk",
]
DROPPED = ["bomb-redirect", "endless-redirect"]
REFUSED = ["endless-interim", "endless-headers", "endless-header", "endless-chunk-size"]


def test_bombs_and_endless_answers_take_little_memory(server: MisbehavingServer) -> None:
    """Decompression bombs, nested or in a 503 or a redirect, and endless answers cost at most 64 MiB of memory."""
    told = measure("memory", "10", server.url, *REFUSED, *DROPPED, *BODIES_TOO_LARGE)
    assert {path: told[path][0] for path in BODIES_TOO_LARGE} == dict.fromkeys(BODIES_TOO_LARGE, "too large")
    assert {path: told[path][0] for path in DROPPED} == dict.fromkeys(DROPPED, 4)
    assert {path: told[path][0] for path in REFUSED if told[path][0] == "too large"} == {}
    growth = {path: round(mib) for path, (_, mib) in told.items()}
    assert {path: mib for path, mib in growth.items() if mib >= MOST_GROWTH} == {}


def test_the_largest_bodies_take_little_memory(server: MisbehavingServer) -> None:
    """Bodies of just max_response_bytes arrive, with less than 64 MiB of growth: they are not held twice.

    A body of 400,000 chunks of a byte takes no more memory than it would in one piece.
    """
    told = measure("memory", "10", server.url, "endless-tiny-chunks", "largest", "largest-packed")
    assert [told[path][0] for path in ("largest", "largest-packed")] == [LIMIT, LIMIT]
    assert {path: mib for path, (_, mib) in told.items() if mib >= MOST_GROWTH} == {}


def test_endless_trailers_end_at_the_deadline(server: MisbehavingServer) -> None:
    """Endless trailers end at the deadline of the attempt, and take little memory."""
    came, growth = measure("memory", "2", server.url, "endless-trailers")["endless-trailers"]
    assert isinstance(came, str)
    assert growth < MOST_GROWTH


def test_hundreds_of_failures_leak_nothing(serve: Serve, closed_port: str) -> None:
    """The numbers of threads, open files and connections do not grow with the number of failing calls."""
    head = b"HTTP/1.1 200 OK\r\n"
    routes = {
        "close": Reply(b""),
        "reset": Reply(b"", Then.RESET),
        "hang": Reply(b"", Then.HOLD),
        "hang-in-headers": Reply(head, Then.HOLD),
        "hang-in-body": Reply(head + b"Content-Length: 10\r\n\r\nhalf", Then.HOLD),
        "half-a-head": Reply(head + b"X-Half"),
        "garbage": Reply(b"garbage\r\n\r\n", Then.HOLD),
        "many-headers": Reply(head + b"X-Many: 1\r\n" * 200, Then.HOLD),
        "half-a-body": Reply(head + b"Content-Length: 10\r\n\r\nhalf"),
        "bad-chunk": Reply(CHUNKED + b"zz\r\n", Then.HOLD),
        "bad-length": Reply(head + b"Content-Length: -1\r\n\r\n", Then.HOLD),
        "bad-gzip": Reply(reply(200, b"no gzip", "Content-Encoding: gzip").data, Then.HOLD),
        "half-gzip": Reply(reply(200, gzip.compress(b"x" * 999)[:-4], "Content-Encoding: gzip").data, Then.HOLD),
        "encodings": Reply(reply(200, b"x", "Content-Encoding: " + ", ".join(["gzip"] * 200)).data, Then.HOLD),
        "too-large": Reply(head + b"\r\n", Then.CLOSE, b"x" * 65536),
        "loop": Reply(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 9\r\n\r\nnine more", Then.KEEP),
    }
    server = serve(routes=routes)
    untrusted = serve(context=certificate("self_signed"), routes={})
    urls = [f"{server.url}/{path}" for path in routes if path != "too-large"]
    told = measure("leaks", "400", *urls, untrusted.url, f"http://{closed_port}/")
    assert sum(told["failures"].values()) == 400
    assert told["failures"]["timeout"] > 0
    threads, files = (after - before for after, before in zip(told["after"], told["before"], strict=True))
    assert threads <= 0
    assert files <= 8  # idle connections that the pool keeps, and no more however often one asks
